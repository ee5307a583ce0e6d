#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""Stopping and going on changes no bit, alone and on two ranks, whatever stopped the run."""

import hashlib
import json
import os
import signal
import subprocess
import time
import unittest

from training_case import BRAID, BRAID_MPIRUN, TrainingCase

NUMBERS = ("loss", "aux_loss", "grad_norm", "lr", "tokens", "eval_loss", "expert_load_max",
           "worst_sequences")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Resume(TrainingCase):
    def assert_same_run(self, name, other):
        a, b = self.metrics(name), self.metrics(other)
        self.assertEqual([line["step"] for line in a], list(range(1, 101)))
        for x, y in zip(a, b, strict=True):
            for key in NUMBERS:
                self.assertEqual(x.get(key), y.get(key), f"step {x['step']}, {key}")
        self.braid("checkpoint", "diff", *(f"runs/{run}/checkpoints/step-00000100" for run in (name, other)))

    def test_50_and_50_steps_are_100_steps(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                self.train(f"straight{ranks}", ranks=ranks)
                self.train(f"halves{ranks}", "train.stop_at=50", ranks=ranks)
                out, _ = self.train(f"halves{ranks}", ranks=ranks)
                self.assertIn("step-00000050 at step 50", out)
                self.assert_same_run(f"straight{ranks}", f"halves{ranks}")
                out, _ = self.train(f"halves{ranks}", ranks=ranks)
                self.assertIn("already complete", out)

    def test_another_number_of_ranks_starts_from_the_same_state(self):
        self.train("wide", "train.stop_at=50", ranks=2)
        self.train("narrow", "train.stop_at=51", "--resume", "runs/wide/checkpoints/step-00000050")
        self.train("wide", "train.stop_at=51", ranks=2)
        narrow, wide = self.metrics("narrow")[-1], self.metrics("wide")[-1]
        # One step from equal bits: only the order of f32 sums over ranks differs.
        self.assertAlmostEqual(narrow["loss"] / wide["loss"], 1, delta=1e-6)
        self.assertEqual(narrow["tokens"], wide["tokens"])

    def test_a_branch_is_its_parents_continuation(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                self.train(f"parent{ranks}", "checkpoint.keep=0", ranks=ranks)
                start = f"start={{from: runs/parent{ranks}/checkpoints/step-00000050, mode: branch}}"
                out, _ = self.train(f"branch{ranks}", start, ranks=ranks)
                self.assertIn(f"branching from runs/parent{ranks}/checkpoints/step-00000050 at step 50", out)
                parent, branch = self.metrics(f"parent{ranks}")[50:], self.metrics(f"branch{ranks}")
                self.assertEqual([line["step"] for line in branch], list(range(51, 101)))
                for x, y in zip(parent, branch, strict=True):
                    for key in NUMBERS:
                        self.assertEqual(x.get(key), y.get(key), f"step {x['step']}, {key}")
        # In another layout, from equal bits: only the order of f32 sums over ranks differs.
        self.train("other", "start={from: runs/parent0/checkpoints/step-00000050, mode: branch}", "train.steps=51",
                   "parallel.expert=2", ranks=2)
        self.train("same", "start={from: runs/parent0/checkpoints/step-00000050, mode: branch}", "train.steps=51")
        self.assertAlmostEqual(self.metrics("other")[0]["loss"] / self.metrics("same")[0]["loss"], 1, delta=1e-6)

    def test_a_strangers_config_does_not_steer_the_terminal(self):
        self.train("small", "train.steps=1", "optimizer.schedule.warmup_steps=0")
        path = self.folder / "runs/small/checkpoints/step-00000001/manifest.json"
        text = path.read_text(encoding="utf-8")
        config = json.loads(text)["config"]
        forged = config.replace("name: small", "name: small # \x1b[31mred", 1)
        for old, new in ((sha256(config), sha256(forged)), (json.dumps(config), json.dumps(forged))):
            text = text.replace(old, new, 1)
        text = text[:text.rindex('"sha256":"')]
        path.write_text(f'{text}"sha256":"{sha256(text)}"}}\n', encoding="utf-8")
        out, _ = self.braid("checkpoint", "info", "runs/small", "--config")
        self.assertIn("name: small # \\x1b[31mred\n", out)

    def test_sums_of_the_library_agree_with_ordered_ones(self):
        self.train("ordered", "train.steps=6", ranks=2)
        self.train("library", "train.steps=6", "parallel.reduction=library", ranks=2)
        for ordered, library in zip(self.metrics("ordered"), self.metrics("library"), strict=True):
            self.assertAlmostEqual(library["loss"] / ordered["loss"], 1, delta=1e-5)

    def start(self, name, ranks, *arguments):
        launcher = [BRAID_MPIRUN, "-n", str(ranks)] if ranks else []
        process = subprocess.Popen(launcher + [BRAID, "train", "base.yaml", f"name={name}", "checkpoint.every=10",
                                               *arguments],
                                   cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        path = self.folder / "runs" / name / "checkpoints" / "step-00000010"
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        self.assertTrue(path.exists(), process.stderr.read() if process.poll() is not None else "no checkpoint in 60 s")
        return process

    def test_signals_save_and_stop_with_75(self):
        self.train("straight")
        for ranks, number in ((0, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGINT)):
            with self.subTest(ranks=ranks, signal=number):
                name = f"stopped{ranks}{number}"
                process = self.start(name, ranks)
                process.send_signal(number)
                _, errors = process.communicate(timeout=60)
                if process.returncode == 0:
                    self.skipTest("the run ended before the signal came")
                self.assertEqual(process.returncode, 75, errors)
                last = self.metrics(name)[-1]["step"]
                self.assertTrue((self.folder / "runs" / name / "checkpoints" / f"step-{last:08d}").exists())
                if ranks == 0:
                    self.train(name, "checkpoint.every=10")
                    self.assert_same_run("straight", name)

    def test_a_killed_run_goes_on_from_its_last_checkpoint(self):
        self.train("straight")
        process = self.start("killed", 0)
        process.kill()
        process.communicate(timeout=60)
        self.train("killed", "checkpoint.every=10")
        self.assert_same_run("straight", "killed")

    def test_a_killed_rank_ends_the_job(self):
        endless = "train.steps=1000000"  # so that it is still there when it is to be killed
        process = self.start("torn", 2, endless)
        ranks = self.rank_processes("torn")
        self.assertEqual(len(ranks), 2)
        os.kill(ranks[1], signal.SIGKILL)
        process.communicate(timeout=30)
        self.assertNotEqual(process.returncode, 0)
        checkpoints = (self.folder / "runs" / "torn" / "checkpoints").glob("step-????????")
        last = max(int(path.name.removeprefix("step-")) for path in checkpoints)
        self.train("torn", endless, f"train.stop_at={last + 20}", ranks=2)


if __name__ == "__main__":
    unittest.main()
