#!/usr/bin/env python3
# ctest: labels=slow timeout=5400 processors=2
"""Every mutant is noticed by the tests that are there to notice it."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from mutants import MUTANTS  # noqa: E402
from mutation_check import report  # noqa: E402

sys.exit(report(MUTANTS))
