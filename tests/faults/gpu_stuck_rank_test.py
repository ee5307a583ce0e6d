#!/usr/bin/env python3
# ctest: labels=gpu,fault timeout=300 processors=2
"""A rank on a GPU that stops ends the job with exit code 6 and is named; so does an error of NCCL; a killed one too."""

import os
import pathlib
import signal
import unittest

from stuck_ranks import StuckRankCase
from training_case import skip_without_gpu


class GpuStuckRank(StuckRankCase):
    # The emulated GPU is slow: little work, of which a step is a second or two.
    ARGUMENTS = ("train.device=cuda", "train.sequence_length=6", "train.global_batch=2", "train.micro_batch=1")
    STEPS = 2
    # A rank may compute that long while another waits, and the signal may come at the start of it.
    WATCHDOG_SECONDS = 6
    OVERHEAD_SECONDS = 18
    CONSEQUENCE = r"braid: rank \d: .*: NCCL: [\w ]+\n"

    def setUp(self):
        super().setUp()
        self.environment["BRAID_SHARE_GPU"] = "1"   # where there is one

    def test_a_stopped_rank_is_named(self):
        self.check_stopped("stopped", 1)

    def test_a_stopped_rank_is_named_where_the_library_adds(self):
        self.check_stopped("library", 0, "parallel.reduction=library")

    def test_a_killed_rank_ends_the_job_at_once(self):
        code, errors, _ = self.strike("killed", signal.SIGKILL, 1)
        self.assertEqual(code, 128 + signal.SIGKILL)
        # Whoever waits for it on the GPU may have learnt it from NCCL before mpirun says so.
        self.assertRegex(errors, r"braid-mpirun: rank 1 on \S+ was ended by signal 9 \(SIGKILL\)\n")

    def expect_stand_in(self):
        cache = pathlib.Path(os.environ["BRAID_BINARY_DIR"]) / "CMakeCache.txt"  # a bundle has none
        if not cache.is_file() or "BRAID_CUDA_EMULATION:BOOL=ON" not in cache.read_text(encoding="utf-8"):
            self.skipTest("no fault can be ordered from a real NCCL")

    def test_a_rank_that_never_connects_ends_the_job(self):
        self.expect_stand_in()
        self.environment["BRAID_EMULATED_NCCL_ABSENT"] = "1"
        _, errors = self.train("absent", *self.ARGUMENTS, "parallel.watchdog_seconds=2", ranks=2, expect=6)
        self.assertRegex(errors, r"braid: rank 0 on \S+ waited 2\.\d s for ranks it cannot tell in split 0 of world: "
                                 r"connecting the GPUs\n")

    def test_an_error_of_nccl_ends_the_job(self):
        self.expect_stand_in()
        self.environment["BRAID_EMULATED_NCCL_ERROR"] = "1:20"
        _, errors = self.train("broken", *self.ARGUMENTS, "eval.every=0", "checkpoint.every=0", ranks=2, expect=6)
        # The other rank learns of it from NCCL, and may be the first to say so and to end the job.
        self.assertRegex(errors, r"braid: rank \d: all_\w+ \d+ of data: step \d+, .*: NCCL: remote error\n")
        self.assertNotIn("emulation", errors)


if __name__ == "__main__":
    skip_without_gpu()
    unittest.main()
