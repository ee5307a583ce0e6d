#!/usr/bin/env python3
# ctest: labels=slow timeout=1800 processors=2
"""Every file names what it uses: it compiles without the precompiled header, which would hide what is missing.

Reads the build's compile_commands.json and asks the compiler for a check of syntax only.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ["BRAID_BINARY_DIR"])
ROOT = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])


def without_precompiled(command):
    """The compiler's words of one entry, without compiler cache, precompiled header and output."""
    words = shlex.split(command)
    words = words[next(i for i, word in enumerate(words) if re.search(r"(?:\+\+|g?cc|clang)(?:-\d+)?$", word)):]
    for option in ("-include", "-o"):
        while option in words:
            del words[words.index(option):words.index(option) + 2]
    return [word for word in words if word != "-Winvalid-pch"] + ["-fsyntax-only", "-w"]


def separated(entry):
    """An entry for each source: those that it includes where they are compiled together (cmake/Unity.cmake)."""
    file = pathlib.Path(entry["file"])
    if not file.is_relative_to(BUILD / "generated/unity"):
        return [entry]
    sources = [str(ROOT / name) for name in re.findall(r'#include "(.+)"', file.read_text(encoding="utf-8"))]
    return [{**entry, "file": source, "command": entry["command"].replace(entry["file"], source)} for source in sources]


def check(entry):
    done = subprocess.run(without_precompiled(entry["command"]), cwd=entry["directory"], capture_output=True, text=True,
                          timeout=300, check=False)
    return entry["file"], done.returncode, done.stderr


entries = [entry for united in json.loads((BUILD / "compile_commands.json").read_text(encoding="utf-8"))
           for entry in separated(united)
           if entry["file"].endswith(".cpp") and pathlib.Path(entry["file"]).is_relative_to(ROOT)
           and not pathlib.Path(entry["file"]).is_relative_to(BUILD)]
assert len(entries) > 400, len(entries)

# A file that leans on the precompiled header is seen.
with tempfile.NamedTemporaryFile("w", suffix=".cpp") as planted:
    planted.write("std::vector<int> numbers;\n")
    planted.flush()
    command = entries[0]["command"].replace(entries[0]["file"], planted.name)
    assert check({**entries[0], "command": command})[1] != 0

failed = []
with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for file, code, errors in pool.map(check, entries):
        if code != 0:
            failed.append(file)
            print(errors[:2000])
if failed:
    sys.exit("lacking includes: " + " ".join(failed))
