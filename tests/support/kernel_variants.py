"""The numeric test programs once more with other kernels than those the libraries choose on this machine.

OpenBLAS takes its kernels from OPENBLAS_CORETYPE; our own vector code takes the Highway target that
BRAID_TEST_HIGHWAY_TARGET names (tests/support/op_case.cpp). What a processor of another kind would run is seen
that way on one machine, as far as it has the instructions.
"""

import os
import subprocess
import sys

# Name -> what it needs of /proc/cpuinfo's flags. The oldest and the newest that OpenBLAS 0.3.21 tells apart.
CORE_TYPES = {
    "Prescott": {"pni"},
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "Cooperlake": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"},
}
HIGHWAY_TARGETS = {
    "AVX2": {"avx2", "fma"},
    "AVX3": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
}


def processor_flags():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        return set(next((line for line in file if line.startswith("flags")), "").split())


def variants(core_types=CORE_TYPES, highway_targets=HIGHWAY_TARGETS):
    """[(name, environment)] of what this processor can run; what it cannot is printed.

    OpenBLAS falls back in silence where it does not know a name: gemm.runs_the_kernels_asked_for would fail then.
    """
    flags, found = processor_flags(), []
    for variable, names in (("OPENBLAS_CORETYPE", core_types), ("BRAID_TEST_HIGHWAY_TARGET", highway_targets)):
        for name, needed in names.items():
            if needed <= flags:
                found.append((name, {variable: name}))
            else:
                print(f"{name}: not on this processor, which lacks {' '.join(sorted(needed - flags))}")
    return found


def run_programs(programs, kinds, timeout):
    """Runs each (program, gtest filter) with each variant's environment; exits 1 if one failed."""
    failed = []
    for name, environment in kinds:
        for program, cases in programs:
            command = [os.path.join(os.environ["BRAID_BINARY_DIR"], "tests", program), f"--gtest_filter={cases}",
                       "--gtest_brief=1"]
            env = {**os.environ, **environment, "OMP_NUM_THREADS": "2"}
            result = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                    timeout=timeout, check=False)
            summary = next((line for line in result.stdout.splitlines() if " ran." in line), "ran nothing")
            print(f"{program} with {name}: exit {result.returncode}, {summary}", flush=True)
            if result.returncode != 0 or " 0 tests" in summary or summary == "ran nothing":
                print(result.stdout[-6000:])
                failed.append(f"{program} with {name}")
    if failed:
        sys.exit("failed: " + ", ".join(failed))
