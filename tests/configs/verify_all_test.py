#!/usr/bin/env python3
# ctest: labels=slow timeout=7200 processors=2
"""Every published model in six layouts, at small sizes: the figures of docs/architectures.md."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from verify_published import NAMES, verify  # noqa: E402

for name in NAMES:
    print(f"{name}: {max(verify(name).values()):.1e}", flush=True)
