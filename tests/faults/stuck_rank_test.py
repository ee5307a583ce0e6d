#!/usr/bin/env python3
# ctest: labels=mpi,fault timeout=300 processors=1
"""A rank that stops in training ends the job with exit code 6 and is named; one that is killed ends it at once."""

import os
import signal
import subprocess
import time
import unittest

from stuck_ranks import StuckRankCase
from training_case import BRAID, BRAID_MPIRUN


class StuckRank(StuckRankCase):
    def test_a_stopped_rank_is_named(self):
        for missing in (1, 0):
            with self.subTest(missing=missing):
                self.check_stopped(f"stopped{missing}", missing)

    def test_a_stopped_rank_is_named_where_the_library_adds(self):
        self.check_stopped("library", 1, "parallel.reduction=library")

    def test_a_killed_rank_ends_the_job_at_once(self):
        code, errors, _ = self.strike("killed", signal.SIGKILL, 1)
        self.assertEqual(code, 128 + signal.SIGKILL)
        self.assertRegex(errors, r"\Abraid-mpirun: rank 1 on \S+ was ended by signal 9 \(SIGKILL\)\n\Z")

    def test_a_job_that_was_stopped_as_a_whole_goes_on(self):
        process = subprocess.Popen([BRAID_MPIRUN, "-n", "2", BRAID, "train", "base.yaml", "name=paused",
                                    "train.steps=100000", "checkpoint.every=0", "eval.every=0",
                                    "parallel.watchdog_seconds=2"],
                                   cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        ranks = self.wait_for_ranks("paused", process)
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in ranks.values():
                os.kill(pid, number)
            time.sleep(4)  # beyond the watchdog's limit, and then for its word
        before, deadline = self.num_steps("paused"), time.monotonic() + 100
        while self.num_steps("paused") < before + 20 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertGreaterEqual(self.num_steps("paused"), before + 20)
        # Without waiting for all steps, as a busy machine may take minutes for them.
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=100)
        self.assertEqual((process.returncode, errors),
                         (75, "braid-mpirun: signal 15 (SIGTERM): asking the ranks to save and stop\n"))

    def num_steps(self, name):
        return (self.folder / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").count("\n")


if __name__ == "__main__":
    unittest.main()
