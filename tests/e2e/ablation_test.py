#!/usr/bin/env python3
# ctest: labels=unit timeout=300 processors=1
"""One override changes the layer ratio, one the norm placement: every combination trains. The trained model evaluates,
gives logits and writes text."""

import json
import math
import unittest

import h5py
from training_case import TrainingCase

PLACEMENTS = ("pre", "post", "sandwich", "residual_post")
RATIOS = {"3to1": "(gdn+moe)*3, attn+moe", "1to1": "gdn+moe, attn+moe", "attention": "attn+moe", "deltanet": "gdn+moe"}


class Ablation(TrainingCase):
    def test_every_placement_and_ratio_trains(self):
        for placement in PLACEMENTS:
            for ratio, pattern in RATIOS.items():
                with self.subTest(placement=placement, ratio=ratio):
                    name = f"{placement}-{ratio}"
                    self.train(name, f"model.norm.placement={placement}", f"model.pattern={pattern}", "train.steps=40",
                               "optimizer.lr=2.0e-2", "checkpoint.every=0")
                    losses = [line["loss"] for line in self.metrics(name)]
                    self.assertEqual(len(losses), 40)
                    # The words use 17 letters: to know that much is worth log(256 / 17) = 2.7 nats.
                    self.assertLess(sum(losses[-5:]) / 5, math.log(256) - 1.5)

    def test_a_trained_model_evaluates_and_writes(self):
        self.train("model", "log.profile=true", "log.layers_every=20", "log.tensorboard=true")
        last = self.metrics("model")[-1]
        worst = last["worst_sequences"]
        self.assertEqual(sorted(entry["sample"] for entry in worst), [297, 298, 299])   # of the last step's three
        self.assertEqual(worst, sorted(worst, key=lambda entry: -entry["loss"]))
        out, _ = self.braid("data", "show", "runs/model/config.yaml", "--sample", str(worst[0]["sample"]), "--json")
        sample = json.loads(out)[0]
        out, _ = self.braid("data", "show", sample["file"], "--window", str(sample["window"]), "--sequence-length",
                            str(sample["num_tokens"]), "--json")
        self.assertEqual(sample["text"], json.loads(out)[0]["text"])
        out, _ = self.braid("eval", "runs/model", "--data", "valid.h5", "--max-tokens", "512")
        result = json.loads(out)
        self.assertAlmostEqual(result["loss"], last["eval/held/loss"], delta=1e-6)
        self.assertAlmostEqual(result["bits_per_byte"], last["eval/held/bits_per_byte"], delta=1e-6)
        self.braid("eval", "runs/model", "--tokens", "97,108,112", "--logits", "logits.h5")
        with h5py.File(self.folder / "logits.h5") as file:
            logits = file["logits"][:]
        self.assertEqual(logits.shape, (3, 256))
        self.assertEqual(chr(logits[2].argmax()), "h")   # alp -> h
        out, _ = self.braid("generate", "runs/model", "--prompt", "alph", "--tokens", "20", "--temperature", "0")
        self.assertTrue(out.startswith("alpha"), out)
        self.assertEqual(out, self.braid("generate", "runs/model", "--prompt", "alph", "--tokens", "20",
                                         "--temperature", "0")[0])
        run = self.folder / "runs" / "model"
        self.assertIn("gated_delta_rule", (run / "profile-rank-0.txt").read_text(encoding="utf-8"))
        layers = [json.loads(line) for line in (run / "layers.jsonl").read_text(encoding="utf-8").splitlines()]
        self.assertEqual({line["sublayer"] for line in layers}, {"gdn", "attn", "moe"})
        for line in layers:
            for key in ("residual_rms", "branch_rms", "gradient_rms", "output_max", "update_ratio"):
                self.assertGreater(line[key], 0, f"{line}")

    def test_diagnostics_and_profiles_change_no_bit(self):
        self.train("plain", "train.steps=12")
        self.train("watched", "train.steps=12", "log.layers_every=1", "log.profile=true", "eval.every=3")
        self.braid("checkpoint", "diff", "runs/plain", "runs/watched")
        self.train("recomputed", "train.steps=12", "train.recompute=layers")
        self.braid("checkpoint", "diff", "runs/plain", "runs/recomputed")


if __name__ == "__main__":
    unittest.main()
