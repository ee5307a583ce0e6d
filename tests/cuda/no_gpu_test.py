#!/usr/bin/env python3
# ctest: labels=cuda timeout=120 processors=1
"""A program built for GPUs where there is none: it says so when asked for one, and trains on the CPU when not."""

import glob
import sys
import unittest

from training_case import TrainingCase

SHORT = ("train.stop_at=2", "checkpoint.every=0", "eval.every=0")


class NoGpu(TrainingCase):
    def test_a_gpu_that_is_asked_for(self):
        _, errors = self.train("gpu", "train.device=cuda", *SHORT, expect=2)
        self.assertIn("train.device: cuda: expected a GPU for each of the 1 ranks of this machine, found 0", errors)

    def test_the_cpu_as_well(self):
        self.train("auto", "train.device=auto", *SHORT)
        self.train("cpu", "train.device=cpu", *SHORT)
        losses = [[line["loss"] for line in self.metrics(name)] for name in ("auto", "cpu")]
        self.assertEqual(len(losses[0]), 2)
        self.assertEqual(*losses)


if __name__ == "__main__":
    if glob.glob("/dev/nvidia[0-9]*"):
        print("skipped: this machine has a GPU")
        sys.exit(77)
    unittest.main()
