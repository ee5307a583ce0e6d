#!/usr/bin/env python3
# ctest: labels=unit timeout=60 processors=1
"""Hold every #include of the tree against the one-way folder order that CMakeLists.txt declares.

A source folder may include its own headers and those of the folders its braid_library line names after USES; a file
of a room, a subfolder that the line names after ROOMS, only headers of its own room and of rooms named before it. What
lies in cuda/ or cpu/ belongs to no room. Some library headers and names belong to one place only. The checker is first
tried on planted violations, so that a checker which sees nothing cannot pass.
"""

import dataclasses
import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUFFIXES = {".h", ".cpp", ".c", ".cu", ".cuh"}
LIBRARY = re.compile(r"^braid_library\((\w+)\s*([^)]*)\)", re.MULTILINE)
SECTION = re.compile(r"\b(USES|LINKS|ROOMS)\b")
DEVICES = {"cuda", "cpu"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

# (what it is, pattern of the included header, where it may be included)
OWNED_HEADERS = [
    ("hdf5.h", re.compile(r"(?:hdf5(?:_hl)?|H5\w+)\.h"), re.compile(r"base/hdf5_\w+\.(?:cpp|h)|tests/.*")),
    ("mpi.h", re.compile(r"mpi\.h"),
     re.compile(r"parallel/.*|tests/(?:distributed|parallel|support|launch)/.*")),
    ("yaml-cpp", re.compile(r"yaml-cpp/.*"), re.compile(r"base/.*|tests/base/.*")),
    ("CUDA", re.compile(r"(?:cuda|cublas|nccl)\w*\.h"),
     re.compile(r".*/cuda/.*|.*_cuda\.(?:cpp|h)|.*\.cu|tests/cuda_.*")),
    ("CLI11", re.compile(r"CLI/.*"), re.compile(r"launch/command_line\.cpp")),
]
# (name, pattern in the code without comments, where it may stand)
OWNED_NAMES = [
    ("MPI_COMM_WORLD", re.compile(r"\bMPI_COMM_WORLD\b"), re.compile(r"(?:launch|tests)/.*")),
]


@dataclasses.dataclass
class Order:
    """What the braid_library lines declare."""
    allowed: dict = dataclasses.field(default_factory=dict)   # folder -> the folders it may include
    rooms: dict = dataclasses.field(default_factory=dict)     # folder -> its rooms in their order, where it has any


def declared_order(root):
    """(Order, problems) of the braid_library lines; those must only name earlier folders, and rooms that exist."""
    order, problems = Order(), []
    for name, rest in LIBRARY.findall((root / "CMakeLists.txt").read_text()):
        words = SECTION.split(rest)
        sections = dict(zip(words[1::2], (part.split() for part in words[2::2])))
        uses, rooms = sections.get("USES", []), sections.get("ROOMS", [])
        problems += [f"CMakeLists.txt: {name} uses {used}, which is not declared before it"
                     for used in uses if used not in order.allowed]
        order.allowed[name] = {name, *uses}
        if rooms:
            order.rooms[name] = rooms
            found = {path.name for path in (root / name).iterdir() if path.is_dir()} - DEVICES
            problems += [f"CMakeLists.txt: {name} names the rooms {rooms}, and {name}/ has {sorted(found)}"
                         for _ in [0] if found != set(rooms) - {"."}]
    if not order.allowed:
        problems.append("CMakeLists.txt: no braid_library line found")
    return order, problems


def room_of(path):
    """The room that a path FOLDER/[ROOM/]NAME lies in; None for code of a device."""
    parts = path.split("/")
    room = parts[1] if len(parts) > 2 else "."
    return None if room in DEVICES else room


def check_rooms(path, header, order):
    """A message if a file and a header that it includes, both of one folder, are in rooms of the wrong order."""
    rooms = order.rooms.get(path.split("/")[0])
    own, other = room_of(path), room_of(header)
    if not rooms or own is None or other is None:
        return None
    if own not in rooms or other not in rooms:
        return f"is not in a room of CMakeLists.txt, or {header} is not"
    if rooms.index(other) > rooms.index(own):
        return f"may not include {header}: {other} comes after {own}"
    return None


def check_file(path, text, order):
    """Yields one message for each include or name of the file `path` (relative to the root) that is out of place."""
    folder, allowed = path.split("/")[0], order.allowed
    for match in INCLUDE.finditer(text):
        quote, header = match.groups()
        where = f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}"
        target = header.split("/")[0]
        if quote == '"' and "/" not in header or header.startswith("."):
            yield f'{where}: "{header}" must be included by its path from the root'
        if folder in allowed and target in allowed and target not in allowed[folder]:
            yield f"{where}: {folder}/ may not include {header} (it may use {', '.join(sorted(allowed[folder]))})"
        if folder == target:
            problem = check_rooms(path, header, order)
            if problem:
                yield f"{where}: {problem}"
        if folder in allowed and target in ("tests", "bench"):
            yield f"{where}: {folder}/ may not include {header}"
        for name, pattern, owner in OWNED_HEADERS:
            if pattern.fullmatch(header) and not owner.fullmatch(path):
                yield f"{where}: {name} may be included in {owner.pattern} only"
    code = COMMENT.sub("", text)
    for name, pattern, owner in OWNED_NAMES:
        if pattern.search(code) and not owner.fullmatch(path):
            yield f"{path}: {name} may stand in {owner.pattern} only"


def check_tree(root):
    """(number of files seen, messages) of the whole tree."""
    order, problems = declared_order(root)
    num_files = 0
    for folder in [*order.allowed, "tests", "bench"]:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                num_files += 1
                problems += check_file(path.relative_to(root).as_posix(), path.read_text(), order)
    return num_files, problems


def print_graph(root):
    """For people (--graph): every room, in order, with the rooms that its files include."""
    order, _ = declared_order(root)
    rooms = [f"{folder}/{room}" if room != "." else folder
             for folder in order.allowed for room in order.rooms.get(folder, ["."])]

    def place_of(path):  # None for code of a device, which lies in no room
        room = room_of(path)
        return path.split("/")[0] if room == "." else room and "/".join(path.split("/")[:2])

    used = {room: set() for room in rooms}
    for folder in order.allowed:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix in SUFFIXES and path.is_file() and place_of(name) in used:
                for match in INCLUDE.finditer(path.read_text()):
                    if match.group(1) == '"' and "/" in match.group(2):
                        used[place_of(name)].add(place_of(match.group(2)))
    for room in rooms:
        print(f"{room}: {' '.join(sorted((used[room] - {room}) & used.keys(), key=rooms.index)) or '-'}")


PLANTED = {
    "base/a.cpp": '#include "tensor/tensor.h"\n',  # a later folder
    "base/b.cpp": "  #  include <ops/basic/linear.h>\n",  # the same in other dress
    "base/c.h": '#include "error.h"\n',  # not from the root
    "base/d.cpp": '#include "tests/support/ranks.h"\n',
    "base/e.cpp": "#include <hdf5.h>\n",
    "tensor/f.cpp": "#include <mpi.h>\n",
    "tensor/g.cpp": "#include <yaml-cpp/yaml.h>\n",
    "tensor/h.cpp": "auto world = MPI_COMM_WORLD;\n",
    "tests/i.cpp": '#include "../base/error.h"\n',
    "bench/j.cpp": "#include <CLI/CLI.hpp>\n",
    "ops/o.cpp": "#include <cuda_runtime.h>\n",
    "layers/first/k.cpp": '#include "layers/second/m.h"\n',  # a later room
    "layers/first/l.cpp": '#include "layers/n.h"\n',  # the files beside the rooms come last here
    "layers/lost.h": '#include "layers/elsewhere/x.h"\n',  # a room that nobody declares
}
LEGAL = {
    "base/hdf5_file.cpp": '#include <hdf5.h>\n#include "base/error.h"\n',
    "ops/cpu/ok.cpp": '#include "tensor/tensor.h"\n#include "base/error.h"\n#include <hwy/highway.h>\n',
    "tensor/ok.cpp": '// never MPI_COMM_WORLD here\n#include <vector>\n',
    "ops/o_cuda.cpp": "#include <cuda_runtime.h>\n",
    "layers/second/m.h": '#include "layers/first/f.h"\n#include "layers/second/s.h"\n#include "layers/cuda/c.h"\n',
    "layers/n.h": '#include "layers/second/m.h"\n',
    "tests/ops/ok.cpp": '#include "layers/model/model.h"\nint x = MPI_COMM_WORLD;\n',
}


def self_check():
    """The checker finds each planted violation, once, and nothing in legal files."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "CMakeLists.txt").write_text("braid_library(base LINKS fmt::fmt)\nbraid_library(tensor USES base)\n"
                                             "braid_library(ops USES base tensor LINKS braid::blas)\n"
                                             "braid_library(layers USES base\n  ROOMS first second .)\n")
        for path, text in {**PLANTED, **LEGAL}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        num_files, problems = check_tree(root)
        assert num_files == len(PLANTED) + len(LEGAL), num_files
        found = sorted(message.split(":")[0] for message in problems)
        assert found == sorted(PLANTED), f"planted violations in {sorted(PLANTED)}, found {problems}"
        (root / "CMakeLists.txt").write_text("braid_library(base USES tensor)\nbraid_library(tensor USES base)\n")
        assert any("not declared before" in message for message in check_tree(root)[1])
        (root / "CMakeLists.txt").write_text("braid_library(layers ROOMS first third .)\n")
        assert any("names the rooms" in message for message in check_tree(root)[1])


def main():
    if sys.argv[1:] == ["--graph"]:
        print_graph(ROOT)
        return 0
    self_check()
    num_files, problems = check_tree(ROOT)
    for problem in problems:
        print(problem)
    print(f"{num_files} files, {len(problems)} violations")
    return 1 if problems or num_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
