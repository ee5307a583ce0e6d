#!/usr/bin/env python3
# ctest: labels=gpu timeout=600 processors=2
"""launch/gpu_check.sh in a dry run: each stage runs, what fails is told and stops nothing, and time is kept to."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

from training_case import skip_without_gpu

CHECK = pathlib.Path(os.environ["BRAID_SOURCE_DIR"]) / "launch" / "gpu_check.sh"
STAGES = ("facts", "ops", "e2e", "nccl", "sanitize", "speed", "long")
# A case or two of each stage.
FEW = r"rope\.|muon\.scales|test_muon$|axes\.2_ranks|doctor\.1|memcheck\.rope|gpu_kernels|^train$"


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="braid test ")
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "results"

    def check(self, *arguments, expect=0, **environment):
        done = subprocess.run([CHECK, "--build", os.environ["BRAID_BINARY_DIR"], "--out", self.out, *arguments],
                              env=dict(os.environ, **environment), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=400, check=False)
        failures = self.out / "failures.txt"
        told = failures.read_text(encoding="utf-8")[-4000:] if failures.exists() else ""
        self.assertEqual(done.returncode, expect, done.stdout[-4000:] + done.stderr[-4000:] + told)
        return done.stdout, done.stderr

    def results(self):
        lines = (self.out / "results.jsonl").read_text(encoding="utf-8").splitlines()
        return {(line["stage"], line["case"]): line["outcome"] for line in map(json.loads, lines)}

    def test_every_stage_runs(self):
        text, _ = self.check("--filter", FEW, "--minutes", "8")
        found = self.results()
        self.assertEqual({stage for stage, _ in found}, set(STAGES), text)
        for case in (("ops", "ops.rope.gradients"), ("ops", "optim.muon.scales"), ("e2e", "gpu_test.Gpu.test_muon"),
                     ("nccl", "distributed.axes.2_ranks"), ("speed", "gpu_kernels"), ("long", "train")):
            self.assertEqual(found.get(case), "passed", case)
        self.assertNotIn("failed", found.values())
        curves = json.loads((self.out / "curves.json").read_text(encoding="utf-8"))
        self.assertEqual([len(curves[name]) for name in ("cpu", "f32", "bf16")], [2, 2, 2])
        self.assertGreater(len(json.loads((self.out / "gpu_kernels.json").read_text(encoding="utf-8"))), 1)
        self.assertLessEqual(len(list(self.out.rglob("*"))), 12)

    def test_what_fails_is_told_and_the_next_stage_runs(self):
        text, _ = self.check("nccl", "ops", "--filter", r"axes\.2|rope\.gradients", "--minutes", "4", expect=1,
                             BRAID_EMULATED_NCCL_ERROR="1:5")
        self.assertEqual(self.results(), {("ops", "ops.rope.gradients"): "passed",
                                          ("nccl", "distributed.axes.2_ranks"): "failed"})
        self.assertIn("failed: nccl: distributed.axes.2_ranks", text)
        self.assertIn("remote error", (self.out / "failures.txt").read_text(encoding="utf-8"))

    def test_time_that_is_used_up_is_told(self):
        self.check("ops", "--filter", r"attention\.bf16_is_near_f32", "--minutes", "0.06")
        self.assertEqual(set(self.results().values()), {"not run"})

    def test_wrong_usage_and_no_gpu(self):
        _, errors = self.check("opps", expect=2)
        self.assertIn("expected stages among facts, ops", errors)
        _, errors = self.check("--filter", "(", expect=2)
        self.assertIn("--filter", errors)
        _, errors = self.check("ops", expect=2, BRAID_EMULATED_GPUS="0")
        self.assertIn("expected a GPU, found none", errors)
        _, errors = self.check("--build", "/nowhere", expect=2)
        self.assertIn("expected the program at /nowhere/braid, found none", errors)


if __name__ == "__main__":
    skip_without_gpu()
    unittest.main()
