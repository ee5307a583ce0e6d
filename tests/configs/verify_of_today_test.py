#!/usr/bin/env python3
# ctest: labels=mpi timeout=900 processors=2
"""Five of the published models in six layouts each, others every day; verify_all runs them all."""

import datetime
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from verify_published import NAMES, verify  # noqa: E402

PER_DAY = 5
first = datetime.date.today().toordinal() * PER_DAY
for i in range(PER_DAY):
    name = NAMES[(first + i) % len(NAMES)]
    print(f"{name}: {max(verify(name).values()):.1e}", flush=True)
