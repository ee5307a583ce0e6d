#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""Training in bf16 reaches the loss of f32 within noise, resumes exactly, and needs no other files."""

import json
import unittest

import h5py
from training_case import TrainingCase

BF16 = "train.precision=bf16"


class Precision(TrainingCase):
    def last_losses(self, name):
        losses = [line["loss"] for line in self.metrics(name)][-20:]
        return sum(losses) / len(losses)

    def test_bf16_reaches_the_loss_of_f32(self):
        exact, rounded = [], []
        for seed in (5, 6, 7):
            arguments = (f"seed={seed}", "optimizer.lr=1.0e-2", "checkpoint.every=0")
            self.train(f"f32-{seed}", *arguments)
            self.train(f"bf16-{seed}", BF16, *arguments)
            exact.append(self.last_losses(f"f32-{seed}"))
            rounded.append(self.last_losses(f"bf16-{seed}"))
        # No bound follows from the precision: a rounding changes what all later steps start from, and bounds
        # of that grow with every step beyond any use. What a user can ask is that another seed, the noise of
        # every run, changes more than the precision does.
        noise = max(exact) - min(exact)
        for one, other in zip(exact, rounded, strict=True):
            self.assertNotEqual(one, other, "nothing was rounded")
            self.assertLess(abs(one - other), noise, f"f32 {exact}, bf16 {rounded}")

    def test_a_resumed_run_is_the_straight_one(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                arguments = (BF16, "train.steps=20", "checkpoint.every=10")
                self.train(f"straight{ranks}", *arguments, ranks=ranks)
                self.train(f"halves{ranks}", *arguments, "train.stop_at=10", ranks=ranks)
                self.train(f"halves{ranks}", *arguments, ranks=ranks)
                self.braid("checkpoint", "diff", f"runs/straight{ranks}", f"runs/halves{ranks}")

    def test_layouts_agree_to_rounding(self):
        arguments = (BF16, "train.stop_at=3", "model.sublayers.gdn.num_key_heads=2")
        self.train("alone", *arguments)
        for layout in ("parallel.zero=1", "parallel.tensor=2", "parallel.expert=2", "optimizer.type=muon"):
            with self.subTest(layout=layout):
                name = layout.replace("=", "-")
                reference = "alone"
                if layout.startswith("optimizer"):
                    reference = "alone-muon"
                    self.train(reference, *arguments, layout)
                self.train(name, *arguments, layout, ranks=2)
                for here, there in zip(self.metrics(name), self.metrics(reference), strict=True):
                    # A rounding is 2^-9 of a number; a loss is a mean over 93 tokens of errors of any sign, and
                    # a token that another rounding sends to another expert moves it most.
                    self.assertAlmostEqual(here["loss"] / there["loss"], 1, delta=2**-8)

    def test_files_hold_f32_and_evaluation_rounds_alike(self):
        self.train("model", BF16, "train.steps=10", "eval.every=10")
        self.train("exact", "train.steps=10", "eval.every=10")
        last = self.metrics("model")[-1]
        out, _ = self.braid("eval", "runs/model", "--data", "valid.h5", "--max-tokens", "512")
        self.assertAlmostEqual(json.loads(out)["loss"], last["eval/held/loss"], delta=1e-6)
        kinds = {}
        for name in ("model", "exact"):
            kinds[name] = {}
            for path in sorted((self.folder / "runs" / name / "checkpoints" / "step-00000010").glob("*.h5")):
                with h5py.File(path) as file:
                    file.visititems(lambda key, item, of=kinds[name]: of.setdefault(key, getattr(item, "dtype", None)))
        self.assertEqual(kinds["model"], kinds["exact"])
        self.braid("generate", "runs/model", "--prompt", "alph", "--tokens", "5", "--temperature", "0")


if __name__ == "__main__":
    unittest.main()
