#!/usr/bin/env python3
# ctest: labels=unit timeout=60 processors=1
"""Every text that a mutant replaces stands in its file, once."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from mutants import MUTANTS  # noqa: E402
from mutation_check import misplaced  # noqa: E402

planted = [(None, ("gone", "base/error.h", "no such text", "")), (None, ("often", "base/error.h", "e", "f")),
           (None, ("no file", "base/nowhere.h", "x", "y"))]
assert [line.split(":")[0] for line in misplaced(planted)] == ["gone", "often", "no file"]
problems = misplaced(MUTANTS)
print("\n".join([*problems, f"{len(MUTANTS)} mutants, {len(problems)} problems"]))
sys.exit(1 if problems else 0)
