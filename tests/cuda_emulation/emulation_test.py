#!/usr/bin/env python3
# ctest: labels=gpu timeout=120 processors=1
"""What the emulation sees in kernels that would work by luck: each fault is planted once (planted/violations.cpp)."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["BRAID_BINARY_DIR"])
PROGRAM = BUILD / "tests/emulation_violations"
POISON = 0xa5a5a5a5 - (1 << 32)


def run(name, **variables):
    return subprocess.run([PROGRAM, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                          encoding="utf-8", check=False, env={**os.environ, **variables})


class Emulation(unittest.TestCase):
    def check_ends(self, name, kernel, message, **variables):
        done = run(name, **variables)
        self.assertEqual(done.returncode, -signal.SIGABRT, done.stderr)
        self.assertRegex(done.stderr, rf"CUDA emulation: .*{kernel}\(.*, BRAID_EMULATION_ORDER=.*: {message}")
        return done.stderr

    def found(self, name, **variables):
        done = run(name, **variables)
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(done.stdout)

    def test_copies(self):
        self.assertEqual(self.found("copy"), 0)
        self.assertEqual(self.found("early_read"), POISON)
        self.check_ends("copy_without_wait", "copy_kernel", "thread 0 ends with 1 copies under way and 0 in no group")
        self.check_ends("copy_without_group", "copy_kernel", "thread 0 ends with 0 copies under way and 1 in no group")

    def test_alignment(self):
        self.assertEqual(self.found("alignment"), 16)
        self.check_ends("misaligned_copy", "copy_kernel", "a copy of 16 bytes from .* multiples of 16")
        self.assertEqual(self.found("vector"), 0)
        self.check_ends("misaligned_vector", "vector_kernel",
                        r".*ops/cuda/tile\.h:\d+: .* misaligned address .* 16 byte alignment")
        self.check_ends("misaligned_matrix", "matrix_kernel", "a row of a matrix .* multiple of 16 bytes")

    def test_static_memory_of_the_block_before(self):
        self.assertEqual(self.found("static_memory"), POISON + 1)

    def test_writes_outside_of_shared_memory(self):
        self.check_ends("overrun", "overrun_kernel", "written outside of its 64 bytes of dynamic shared memory")

    def test_orders(self):
        self.assertEqual(self.found("last_writer"), 255)
        self.assertEqual(self.found("last_writer", BRAID_EMULATION_ORDER="reverse"), 0)
        seeds = [self.found("last_writer", BRAID_EMULATION_ORDER=f"random:{seed}") for seed in (1, 2, 3, 1)]
        self.assertEqual(seeds[0], seeds[3])
        self.assertGreater(len(set(seeds)), 1)
        self.assertRegex(run("last_writer", BRAID_EMULATION_ORDER="random").stderr, r"ORDER=random:\d+\n")

    def test_a_failure_names_the_order(self):
        errors = self.check_ends("barrier", "half_at_barrier_kernel",
                                 "of 32 threads 16 wait at __syncthreads and 16 at a warp operation",
                                 BRAID_EMULATION_ORDER="random:7")
        self.assertIn("BRAID_EMULATION_ORDER=random:7", errors)

    def test_an_unknown_order(self):
        for order in ("sideways", "random:x", "random:", ""):
            done = run("last_writer", BRAID_EMULATION_ORDER=order)
            self.assertEqual(done.returncode, 2)
            self.assertIn("expected ascending, reverse, random or random:SEED, found " + order, done.stderr)

    def test_records(self):
        with tempfile.TemporaryDirectory() as folder:
            launches, outputs = (pathlib.Path(folder) / name for name in ("launches", "outputs"))
            for _ in range(2):
                run("last_writer", BRAID_EMULATION_LAUNCHES=str(launches), BRAID_EMULATION_OUTPUTS=str(outputs))
            run("last_writer", BRAID_EMULATION_OUTPUTS=str(outputs), BRAID_EMULATION_ORDER="reverse")
            lines = launches.read_text(encoding="utf-8").splitlines()
            self.assertEqual(len(lines), 2)
            name, source, dynamic, threads = lines[0].split("\t")
            self.assertRegex(name, r"::last_writer_kernel\(int\*\)$")
            self.assertEqual((source, dynamic, threads), ("violations.cpp", "64", "64"))
            first, second, reverse = outputs.read_text(encoding="utf-8").splitlines()
            self.assertEqual(first, second)
            self.assertNotEqual(first, reverse)


if __name__ == "__main__":
    cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
    if "BRAID_CUDA_EMULATION:BOOL=ON" not in cache:
        print("skipped: this build has no emulation")
        sys.exit(77)
    unittest.main()
