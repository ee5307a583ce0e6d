#!/usr/bin/env python3
# ctest: labels=slow timeout=3600 processors=2
"""The numeric suites whole with every kind of kernel that this processor can run: launch/test.sh --slow."""

from kernel_variants import run_programs, variants

PROGRAMS = [(f"test_{folder}", "-*slow_*") for folder in ("ops", "layers", "optim")]
PROGRAMS.append(("test_trainer", "parity.*:step.*:relayout.*:-*slow_*"))

run_programs(PROGRAMS, variants(), 900)
