#!/usr/bin/env python3
# ctest: labels=mpi,fault timeout=300 processors=2
"""Runs on a file system without permissions, locks, sync and links, which are real only through the kernel."""

import os
import pathlib
import subprocess
import sys
import unittest

from training_case import TrainingCase

PROGRAM = pathlib.Path(os.environ["BRAID_BINARY_DIR"]) / "tests" / "bare_file_system"
SKIPPED = 77


class BareFileSystem(TrainingCase):
    def setUp(self):
        if not PROGRAM.exists():
            print("built without libfuse 3")
            sys.exit(SKIPPED)
        super().setUp()
        self.mounted = self.folder / "bare"
        (self.folder / "kept").mkdir()
        self.mounted.mkdir()
        command = [PROGRAM, self.folder / "kept", self.mounted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"cannot mount a file system: {done.stderr.strip()}")
            sys.exit(SKIPPED)
        # Lazily, as a failed test may leave files open.
        self.addCleanup(subprocess.run, ["fusermount3", "-u", "-z", self.mounted], check=True)
        with open(self.mounted / "probe", "wb") as probe:
            self.assertRaises(OSError, os.fchmod, probe.fileno(), 0o600)
            self.assertRaises(OSError, os.fsync, probe.fileno())

    def test_a_run_there_saves_and_resumes_as_anywhere(self):
        told = ""
        for run_dir in (self.mounted / "run", self.folder / "plain"):
            for stop in ("train.stop_at=3", "train.stop_at=0"):
                told += self.train("run", f"run_dir={run_dir}", "train.steps=6", "checkpoint.every=3", stop, ranks=2)[0]
        for hint in ("keeps no permissions (chmod: ", "has no locks (flock: ", "does not sync (fsync: "):
            self.assertEqual(told.count(hint), 2, hint)  # once for each start there
        for step in ("step-00000003", "step-00000006"):
            there, here = (run_dir / "checkpoints" / step for run_dir in (self.mounted / "run", self.folder / "plain"))
            self.assertIn("every bit", self.braid("checkpoint", "diff", there, here)[0])
        self.braid("checkpoint", "verify", self.mounted / "run")
        self.braid("generate", self.mounted / "run", "--prompt", "alpha", "--tokens", "4")

    def test_data_are_built_and_read_there(self):
        for folder in (self.mounted, self.folder):
            self.braid("data", "build", self.folder / "text.jsonl", "-o", folder / "text.h5")
        self.assertEqual((self.mounted / "text.h5").read_bytes(), (self.folder / "text.h5").read_bytes())
        self.braid("data", "verify", self.mounted / "text.h5")


if __name__ == "__main__":
    unittest.main()
