#!/usr/bin/env python3
# ctest: labels=unit timeout=60 processors=1
"""Every file and folder of the source tree that the documentation names is there."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("base", "tensor", "ops", "parallel", "layers", "optim", "data", "trainer", "ablation", "launch", "tests",
           "bench", "cmake", "configs", "docs")
# Of a path in backquotes. Words in capitals and x stand for names, * and ? for many, and the build makes others.
NAMED = re.compile(r"`((?:" + "|".join(FOLDERS) + r")/[A-Za-z0-9_./*?-]*)")
STANDS_FOR_A_NAME = re.compile(r"(?:^|/)(?:x|[A-Z][A-Z_]*)(?:[./_]|$)")


def missing(text, root):
    """The paths that a text names and that are not below the root."""
    named = {path.rstrip(".") for path in NAMED.findall(text) if not STANDS_FOR_A_NAME.search(path)}
    return sorted(path for path in named if not any(root.glob(path.rstrip("/"))))


def main():
    planted = "`base/error.h`, `base/nowhere.h`, `ops/x.h`, `tests/FOLDER/NAME_test.cpp`, `ops/*.h`, `trainer/nowhere/`"
    assert missing(planted, ROOT) == ["base/nowhere.h", "trainer/nowhere/"], missing(planted, ROOT)
    files = [ROOT / "README.md", ROOT / "bench/README.md", *sorted((ROOT / "docs").glob("*.md"))]
    problems = [f"{file.relative_to(ROOT)}: there is no {path}" for file in files
                for path in missing(file.read_text(encoding="utf-8"), ROOT)]
    print("\n".join([*problems, f"{len(files)} files, {len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
