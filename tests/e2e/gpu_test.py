#!/usr/bin/env python3
# ctest: labels=gpu timeout=600 processors=2
"""A GPU trains what the CPU trains: curves, repeats, checkpoints from one on the other, layouts over NCCL."""

import json
import unittest

import h5py
from training_case import TrainingCase, skip_without_gpu

GPU = "train.device=cuda"
# The emulated GPU is a thousand times slower than the CPU, a real one has no use for more.
SMALL = ("train.sequence_length=12", "train.global_batch=2", "train.micro_batch=1", "eval.every=0",
         "model.sublayers.gdn.num_key_heads=2")


class Gpu(TrainingCase):
    def setUp(self):
        super().setUp()
        self.environment["BRAID_SHARE_GPU"] = "1"   # where there is one

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

    def test_muon(self):
        arguments = (*SMALL, "optimizer.type=muon", "train.steps=4", "checkpoint.every=2",
                     "optimizer.schedule.warmup_steps=2")
        self.train("cpu", "train.device=cpu", *arguments)
        self.train("gpu", GPU, *arguments)
        # As with AdamW; the five steps stretch rounding by their slope, a few times at the singular values that count.
        self.assert_close("gpu", "cpu", 1e-4)
        self.assertNotEqual(self.losses("gpu"), self.losses("cpu"), "the same bits: was it the GPU?")
        self.train("resumed", GPU, *arguments, "--resume", "runs/cpu/checkpoints/step-00000002")
        self.assert_close("resumed", "cpu", 1e-4, first=2)
        for layout in ("parallel.zero=1", "parallel.zero=0", "parallel.tensor=2"):
            with self.subTest(layout=layout):
                name = layout.replace("=", "-")
                self.train(name, GPU, *arguments, "train.stop_at=2", layout, ranks=2)
                for here, there in zip(self.losses(name), self.losses("gpu")[:2], strict=True):
                    for x, y in zip(here, there, strict=True):
                        self.assertAlmostEqual(x / y, 1, delta=1e-5)

    def test_eval_and_generate(self):
        self.train("model", "train.device=cpu", "train.steps=60", "checkpoint.every=0", "eval.every=0",
                   "model.sublayers.gdn.num_key_heads=2")
        (self.folder / "in.jsonl").write_text('{"context": "alph", "continuation": "a beta"}\n', encoding="utf-8")

        def losses(device, ranks=0):
            out, _ = self.braid("eval", "runs/model", "--data", "valid.h5", "--max-tokens", "64", "--micro-batch", "1",
                                "--device", device, ranks=ranks)
            return json.loads(out)

        def logits(device):
            self.braid("eval", "runs/model", "--tokens", ",".join(map(str, b"alpha beta gamma")), "--logits",
                       f"{device}.h5", "--device", device)
            with h5py.File(self.folder / f"{device}.h5") as file:
                return file["logits"][:]

        def likelihood(device):
            self.braid("eval", "runs/model", "--requests", "in.jsonl", "-o", f"{device}.jsonl", "--device", device)
            return json.loads((self.folder / f"{device}.jsonl").read_text(encoding="utf-8"))

        cpu = losses("cpu")
        for gpu in (losses("cuda"), losses("cuda", ranks=2)):
            self.assertEqual(gpu["labels"], cpu["labels"])
            self.assertAlmostEqual(gpu["loss"] / cpu["loss"], 1, delta=1e-5)
        expected, found = logits("cpu"), logits("cuda")
        # f32 on both, sums of at most 32 terms, two layers: some 1e-6 of the largest logit.
        self.assertLess(abs(found - expected).max(), 1e-5 * abs(expected).max())
        self.assertTrue((found != expected).any(), "the same bits: was it the GPU?")
        expected, found = likelihood("cpu"), likelihood("cuda")
        self.assertAlmostEqual(found["loglikelihood"] / expected["loglikelihood"], 1, delta=1e-5)
        self.assertEqual(found["is_greedy"], expected["is_greedy"])
        # The cache of keys and values has room for the prompt and then for twice that: it grows on the way.
        text = ["generate", "runs/model", "--prompt", "alpha be", "--tokens", "10", "--device"]
        for sampling in (("--temperature", "0"), ("--seed", "3")):
            cpu, gpu = (self.braid(*text, device, *sampling)[0] for device in ("cpu", "cuda"))
            self.assertEqual(gpu, cpu)
            self.assertGreater(len(cpu), len("alpha be"))

    def test_evaluation_in_training(self):
        arguments = (*SMALL, "train.steps=2", "checkpoint.every=0", "eval.every=2", "eval.at_start=true",
                     "eval.tokens=48", "log.layers_every=1", "optimizer.schedule.warmup_steps=1")
        self.train("cpu", "train.device=cpu", *arguments)
        self.train("gpu", GPU, *arguments)
        evaluations = 0
        for here, there in zip(self.metrics("gpu"), self.metrics("cpu"), strict=True):
            self.assertEqual(here.keys() - {"host_waits"}, there.keys())
            if "eval/held/loss" in there:
                evaluations += 1
                self.assertAlmostEqual(here["eval/held/loss"] / there["eval/held/loss"], 1, delta=1e-5)
        self.assertEqual(evaluations, 2, "before the first step and after the last")

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

    def test_ranks_share_a_gpu_where_the_environment_says_so(self):
        self.environment.update(CUDA_VISIBLE_DEVICES="0", BRAID_EMULATED_GPUS="1")
        arguments = (*SMALL, "train.stop_at=1", "checkpoint.every=0", "train.sequence_length=4")
        self.train("alone", GPU, *arguments)
        self.train("shared", GPU, *arguments, ranks=2)
        self.assert_close("shared", "alone", 1e-5)
        for value, message in (("0", "cuda: expected a GPU for each of the 2 ranks of this machine, found 1"),
                               ("yes", "BRAID_SHARE_GPU: expected 0 or 1, found 'yes'")):
            self.environment["BRAID_SHARE_GPU"] = value
            _, errors = self.train("refused", GPU, *arguments, ranks=2, expect=2)
            self.assertIn(message, errors)

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


if __name__ == "__main__":
    skip_without_gpu()
    unittest.main()
