#!/usr/bin/env python3
# ctest: labels=gpu timeout=600 processors=2
"""A GPU trains what the CPU trains: curves, repeats, checkpoints from one on the other, layouts over NCCL."""

import unittest

from training_case import TrainingCase

GPU = "train.device=cuda"
# The emulated GPU is a thousand times slower than the CPU, a real one has no use for more.
SMALL = ("train.sequence_length=12", "train.global_batch=2", "train.micro_batch=1", "eval.every=0",
         "model.sublayers.gdn.num_key_heads=2")


class Gpu(TrainingCase):
    def losses(self, name):
        return [(line["loss"], line["aux_loss"], line["grad_norm"]) for line in self.metrics(name)]

    def assert_close(self, name, other, delta, first=0):
        for here, there in zip(self.losses(name), self.losses(other)[first:], strict=True):
            for x, y in zip(here, there, strict=True):
                self.assertAlmostEqual(x / y, 1, delta=delta)

    def test_curves_repeats_and_checkpoints(self):
        arguments = (*SMALL, "train.steps=6", "checkpoint.every=3", "optimizer.schedule.warmup_steps=2")
        self.train("cpu", "train.device=cpu", *arguments)
        self.train("gpu", GPU, *arguments)
        # f32 on both; each step's rounding of some 1e-6 changes the next one's numbers a little more.
        self.assert_close("gpu", "cpu", 1e-4)
        self.assertNotEqual(self.losses("gpu"), self.losses("cpu"), "the same bits: was it the GPU?")
        self.train("again", GPU, *arguments)
        self.braid("checkpoint", "diff", "runs/gpu", "runs/again")
        self.assertEqual(self.losses("gpu"), self.losses("again"))
        for device, other in (("cpu", "gpu"), ("gpu", "cpu")):
            there = "cuda" if other == "gpu" else "cpu"
            self.train(f"{device}-{other}", f"train.device={there}", *arguments, "--resume",
                       f"runs/{device}/checkpoints/step-00000003")
            self.assert_close(f"{device}-{other}", device, 1e-4, first=3)

    def test_bf16(self):
        arguments = (*SMALL, "train.stop_at=2", "train.precision=bf16", "checkpoint.every=0")
        self.train("cpu", "train.device=cpu", *arguments)
        self.train("gpu", GPU, *arguments)
        # Products are summed in another order, so that some results round to the next bf16, 2^-8 away.
        self.assert_close("gpu", "cpu", 2**-5)

    def test_layouts_over_nccl(self):
        arguments = (*SMALL, "train.stop_at=2", "checkpoint.every=0")
        self.train("alone", GPU, *arguments)
        for layout in ("parallel.zero=1", "parallel.zero=0", "parallel.reduction=library", "parallel.tensor=2",
                       "parallel.expert=2", "parallel.expert_tensor=2"):
            with self.subTest(layout=layout):
                name = layout.replace("=", "-")
                self.train(name, GPU, *arguments, layout, ranks=2)
                self.assert_close(name, "alone", 1e-5)

    def test_verify(self):
        out, _ = self.braid("verify", "base.yaml", GPU, "--shrink", "--steps", "1", "train.sequence_length=8",
                            "model.sublayers.gdn.num_key_heads=2", "--layouts", "tensor=2; expert=2; data=2", ranks=2)
        self.assertEqual(out.count("equal"), 3 + 1, out)   # and the heading

    def test_doctor_and_mfu(self):
        out, _ = self.braid("doctor", "--device", "cuda", "--max-bytes", "65536", ranks=2)
        for words in ("GPU 0: ", "NCCL ", "cuBLASLt ", "cuda  bf16", "host-device", "device-device",
                      "cuda  reduce-scatter"):
            self.assertIn(words, out)
        self.train("mfu", GPU, *SMALL, "train.stop_at=1", "checkpoint.every=0")
        self.assertGreater(self.metrics("mfu")[-1]["mfu"], 0)

    def test_what_is_refused(self):
        _, errors = self.braid("verify", "base.yaml", GPU, "--layouts", "data=2", expect=2)
        self.assertIn("braid-mpirun -n 2", errors)
        _, errors = self.train("muon", GPU, "optimizer.type=muon", expect=2)
        self.assertIn("optimizer.type: muon", errors)


if __name__ == "__main__":
    unittest.main()
