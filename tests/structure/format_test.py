#!/usr/bin/env python3
# ctest: labels=unit timeout=300 processors=1
"""Check that clang-format would change nothing: `clang-format -i FILE` mends what this reports."""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("base", "tensor", "ops", "parallel", "layers", "optim", "data", "trainer", "ablation", "launch", "tests",
           "bench")
SUFFIXES = {".h", ".cpp", ".c", ".cu", ".cuh"}
VERSION = "14"  # the version the tree is written with; others break lines elsewhere


def find_clang_format():
    for name in (f"clang-format-{VERSION}", "clang-format"):
        if path := shutil.which(name):
            said = subprocess.run([path, "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
            if re.search(rf"version {VERSION}\.", said):
                return path
    return None


def main():
    program = find_clang_format()
    if program is None:
        print(f"clang-format {VERSION} is not installed; launch/install_deps.sh installs it")
        return 1
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))
             if path.suffix in SUFFIXES and path.is_file()]
    assert files, "no source file found"
    bad_input = subprocess.run([program, "--dry-run", "--Werror", "--style=file", "--assume-filename=base/a.cpp"],
                               input=b"int  main( ){}\n", cwd=ROOT, stderr=subprocess.DEVNULL, check=False)
    assert bad_input.returncode != 0, "the check passes on ill-formatted text"
    checked = subprocess.run([program, "--dry-run", "--Werror", "--style=file", *map(str, files)], cwd=ROOT,
                             stderr=subprocess.PIPE, check=False)
    unformatted = sorted(set(re.findall(r"^(.*?):\d+:\d+: error:", checked.stderr.decode(), re.MULTILINE)))
    for name in unformatted:
        print(f"{pathlib.Path(name).relative_to(ROOT)}: clang-format -i would change it")
    print(f"{len(files)} files, {len(unformatted)} to format")
    return 1 if checked.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
