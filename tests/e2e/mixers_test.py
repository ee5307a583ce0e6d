#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""Mixers beyond attention and gated DeltaNet, as a user meets them: trained, resumed, shared out, generated from."""

import unittest

from training_case import TrainingCase

PATTERN = 'model.pattern="gla+mlp, dn, sc+mlp, kda, mamba"'
SUBLAYERS = ("model.sublayers={gla: {type: gated_linear, num_heads: 2, key_head_dim: 8}, "
             "dn: {type: delta_net, num_heads: 2, key_head_dim: 8, negative_eigenvalues: true}, "
             "kda: {type: kimi_delta, num_heads: 2, key_head_dim: 8, decay_bound: -5}, "
             "mamba: {type: mamba2, num_heads: 4, head_dim: 8, state_size: 8, num_groups: 2}, "
             "sc: {type: short_conv}, mlp: {type: mlp, size: 32}}")


class Mixers(TrainingCase):
    def test_a_resumed_run_is_the_straight_one(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                layout = ("parallel.tensor=2",) if ranks else ()
                arguments = (PATTERN, SUBLAYERS, *layout, "train.steps=20", "checkpoint.every=10")
                self.train(f"straight{ranks}", *arguments, ranks=ranks)
                self.train(f"halves{ranks}", *arguments, "train.stop_at=10", ranks=ranks)
                self.train(f"halves{ranks}", *arguments, ranks=ranks)
                self.braid("checkpoint", "diff", f"runs/straight{ranks}", f"runs/halves{ranks}")
                losses = [line["loss"] for line in self.metrics(f"straight{ranks}")]
                self.assertLess(losses[-1], losses[0])
        self.braid("generate", "runs/straight0", "--prompt", "ab", "--tokens", "8")


if __name__ == "__main__":
    unittest.main()
