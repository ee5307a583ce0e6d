#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""braid replay: steps of a run again, to the last bit, with every layer's diagnostics, and nothing written."""

import json
import unittest

from training_case import TrainingCase


class Replay(TrainingCase):
    def setUp(self):
        super().setUp()
        self.arguments = ("train.steps=20", "checkpoint.every=10", "checkpoint.keep=0", "eval.every=0")

    def files(self, name):
        folder = self.folder / "runs" / name
        return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    def replay(self, name, step, *overrides, ranks=0):
        before = self.files(name)
        out, err = self.braid("replay", f"runs/{name}", "--step", str(step), *overrides, ranks=ranks)
        self.assertEqual(self.files(name), before)
        lines = [json.loads(line) for line in out.splitlines()]
        return [line for line in lines if "layer" not in line], [line for line in lines if "layer" in line], err

    def test_the_numbers_are_those_of_the_run(self):
        for ranks, layout in ((0, ()), (2, ("parallel.expert=2",))):
            name = f"run{ranks}"
            self.train(name, *self.arguments, *layout, ranks=ranks)
            recorded = {line["step"]: line for line in self.metrics(name)}
            for step, first in ((15, 11), (10, 1), (11, 11)):
                with self.subTest(ranks=ranks, step=step):
                    steps, layers, err = self.replay(name, step, ranks=ranks)
                    self.assertEqual([line["step"] for line in steps], list(range(first, step + 1)))
                    for line in steps:
                        for key in ("loss", "grad_norm", "lr", "tokens", "worst_sequences"):
                            self.assertEqual(line[key], recorded[line["step"]][key])
                    # Two layers of two sublayers each.
                    self.assertEqual([(line["step"], line["layer"]) for line in layers],
                                     [(step, 0), (step, 0), (step, 1), (step, 1)])
                    self.assertIn("bit for bit", err)
                    self.assertIn("step-00000010" if first == 11 else "from step 0", err)

    def test_overrides_show_what_they_change(self):
        self.train("run", *self.arguments)
        steps, _, err = self.replay("run", 12, "optimizer.lr=1.0e-4", "optimizer.schedule.min_lr=0")
        recorded = {line["step"]: line for line in self.metrics("run")}
        self.assertEqual(steps[0]["loss"], recorded[11]["loss"])      # the weights are the checkpoint's
        self.assertNotEqual(steps[1]["loss"], recorded[12]["loss"])
        self.assertIn("lr: ", err)

    def test_what_cannot_be_replayed_is_refused(self):
        self.train("run", *self.arguments)
        _, err = self.braid("replay", "runs/run", "--step", "21", expect=2)
        self.assertIn("--step 21: the run has 20 steps", err)
        _, err = self.braid("replay", "runs", "--step", "3", expect=2)
        self.assertIn("expected a run folder with config.yaml", err)


if __name__ == "__main__":
    unittest.main()
