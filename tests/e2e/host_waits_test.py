#!/usr/bin/env python3
# ctest: labels=gpu timeout=600 processors=2
"""How often the host waits for its GPU in a step, printed for four configs: a GPU gets no new work meanwhile."""

import unittest

from training_case import TrainingCase, skip_without_gpu

SMALL = ("train.device=cuda", "train.sequence_length=8", "train.global_batch=2", "train.micro_batch=1", "train.steps=3",
         "optimizer.schedule.warmup_steps=1", "eval.every=0", "checkpoint.every=0",
         "model.sublayers.gdn.num_key_heads=2")
CONFIGS = {
    "adamw": ((), 0),
    "post norm, full recomputation": (("model.norm.placement=post", "train.recompute=layers"), 0),
    "muon": (("optimizer.type=muon",), 0),
    "tensor 2, two ranks": (("parallel.tensor=2",), 2),
}


class HostWaits(TrainingCase):
    def setUp(self):
        super().setUp()
        self.environment["BRAID_SHARE_GPU"] = "1"   # where there is one

    def test_they_are_counted_and_alike_in_every_step(self):
        for number, (what, (arguments, ranks)) in enumerate(CONFIGS.items()):
            with self.subTest(what=what):
                name = f"config-{number}"
                self.train(name, *SMALL, *arguments, ranks=ranks)
                waits = [line["host_waits"] for line in self.metrics(name)]
                print(f"{what}: {waits} host waits in steps 1, 2 and 3 of 2 micro-batches", flush=True)
                self.assertEqual(len(waits), 3)
                self.assertGreater(waits[1], 0)
                # The first and the last also set up and wind up; the loss is read in each.
                self.assertLessEqual(abs(waits[1] - waits[2]), 2)

    def test_the_cpu_has_none(self):
        self.train("cpu", *SMALL, "train.device=cpu")
        self.assertNotIn("host_waits", self.metrics("cpu")[0])


if __name__ == "__main__":
    skip_without_gpu()
    unittest.main()
