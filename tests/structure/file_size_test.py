#!/usr/bin/env python3
# ctest: labels=unit timeout=60 processors=1
"""Hold the length of every source file against the limit of its kind: what does not fit belongs in two files."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The aim is 200 lines a header and 500 a source; a file may end its last function above it.
MAX_LINES = {".h": 250, ".cuh": 250, ".cpp": 600, ".cu": 600, ".c": 600, ".py": 500, ".sh": 500}
MAX_WIDTH = 120


def problems_of(name, text):
    """Yields what is wrong with the length and width of one file."""
    limit = MAX_LINES.get(pathlib.PurePath(name).suffix)
    if limit is None:
        return
    lines = text.splitlines()
    if len(lines) > limit:
        yield f"{name}: {len(lines)} lines, at most {limit} for its kind"
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_WIDTH:
            yield f"{name}:{number}: {len(line)} characters, at most {MAX_WIDTH}"


def main():
    assert len(list(problems_of("a.h", "x\n" * 251))) == 1 and not list(problems_of("a.h", "x\n" * 250))
    assert len(list(problems_of("a.cpp", "x" * 121))) == 1
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            stdout=subprocess.PIPE, check=False).stdout.decode().split("\0")
    # An unpacked release has no repository, and git refuses another user's; the folders are walked instead.
    names = [name for name in listed if name] or [
        path.as_posix() for path in (found.relative_to(ROOT) for found in ROOT.rglob("*")) if "build" not in path.parts]
    names = [name for name in names if pathlib.PurePath(name).suffix in MAX_LINES and (ROOT / name).is_file()]
    problems = [problem for name in names for problem in problems_of(name, (ROOT / name).read_text("utf-8"))]
    print("\n".join(problems + [f"{len(names)} files, {len(problems)} problems"]))
    return 1 if problems or not names else 0


if __name__ == "__main__":
    sys.exit(main())
