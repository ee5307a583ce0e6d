#!/usr/bin/env python3
# ctest: labels=mutation timeout=2400 processors=2
"""Two of the mutants, others every day, so that all come by within a month; every_mutant runs them all."""

import datetime
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from mutants import MUTANTS  # noqa: E402
from mutation_check import report  # noqa: E402

PER_DAY = 2
first = datetime.date.today().toordinal() * PER_DAY
sys.exit(report([MUTANTS[(first + i) % len(MUTANTS)] for i in range(PER_DAY)]))
