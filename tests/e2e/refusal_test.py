#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=1
"""Bad input ends with its documented exit code and one clear message, on one rank and on two."""

import fcntl
import json
import os
import re
import shutil
import time
import unittest

from training_case import BRAID_MPIRUN, TrainingCase, exit_codes, expect_prompt


class Refusal(TrainingCase):
    def refused(self, code, *words, arguments=(), name="bad", ranks=0):
        _, errors = self.train(name, *arguments, ranks=ranks, expect=code)
        reported = [line for line in errors.splitlines() if line.startswith("braid:")]
        self.assertEqual(len(reported), 1, errors)
        for word in words:
            self.assertIn(word, errors)
        return errors

    def test_config(self):
        for ranks in (0, 2):
            with self.subTest(ranks=ranks):
                self.refused(2, "optimizer.lr", arguments=["optimizer.lr=nan"], ranks=ranks)
                self.refused(2, "model.hiden_size", "hidden_size", arguments=["model.hiden_size=8"], ranks=ranks)
                self.refused(2, "num_kv_heads", arguments=["model.sublayers.attn.num_kv_heads=3"], ranks=ranks)
        self.refused(2, "parameters take", arguments=["model.sublayers.moe.expert_size=16777216"])
        self.refused(2, "global_batch", arguments=["train.global_batch=1"], ranks=2)
        self.refused(2, "parallel.data", arguments=["parallel.data=3"], ranks=2)
        self.assertFalse((self.folder / "runs" / "bad" / "checkpoints").exists())

    def test_layouts(self):
        """Every rank ends with 2, one of them says why, and all that within the five seconds promised."""
        for arguments, words in [
                (["parallel.tensor=4"], ["4 does not divide the 6 ranks", "1, 2, 3, 6",
                                         "layouts that would work on 3 ranks: parallel.data=3"]),
                (["parallel.expert=3", "train.global_batch=6"], ["num_experts: 4", "parallel.expert: 3", "1, 2, 4",
                                                                 "on 6 ranks: parallel.data=6 parallel.expert=2;"]),
                (["parallel.data=4"], ["parallel.data", "6 / tensor 1 = 6", "found 4", "layouts that would work on 3"]),
                ([], ["3 sequences cannot feed 6 data ranks", "layouts that would work on 3 ranks: parallel.data=3"])]:
            start = time.monotonic()
            errors = self.refused(2, *words, arguments=arguments, name="layout", ranks=6)
            expect_prompt(self, time.monotonic() - start, 6)
            self.assertEqual(errors.count("braid:"), 1, errors)
            codes = exit_codes(6, "train", "base.yaml", "name=layout", *arguments, folder=self.folder)
            self.assertEqual(codes, [2] * 6)
        self.assertFalse((self.folder / "runs" / "layout" / "config.yaml").exists())

    def test_ranks_with_different_configs(self):
        script = self.folder / "train.sh"
        script.write_text('#!/bin/bash\nexec "$BRAID" train base.yaml name=split seed=$OMPI_COMM_WORLD_RANK\n',
                          encoding="utf-8")
        script.chmod(0o755)
        _, errors = self.run_command(BRAID_MPIRUN, "-n", "2", "-x", "BRAID", str(script), expect=2)
        self.assertIn("rank 1 differs", errors)
        self.assertIn("seed: 0 on rank 0, 1 on rank 1", errors)
        self.assertFalse((self.folder / "runs" / "split").exists())

    def test_data(self):
        self.refused(3, "none.h5", arguments=["data.train=[{path: none.h5}]"])
        size = (self.folder / "train.h5").stat().st_size
        shutil.copy(self.folder / "train.h5", self.folder / "cut.h5")
        os.truncate(self.folder / "cut.h5", size - 100)
        for ranks in (0, 2):
            self.refused(3, "cut.h5", arguments=["data.train=[{path: cut.h5}]"], name=f"cut{ranks}", ranks=ranks)
        self.refused(3, "vocab", arguments=["model.vocab_size=100"], name="vocabulary")

    def test_all_faults_are_named_at_once_and_as_by_check(self):
        faults = ["optimizer.groups=[{role: bias, lr_scale: 1}, {name: nothing, lr_scale: 1}]", "parallel.tensor=2",
                  "model.sublayers.gdn.num_value_heads=3", "data.train=[{path: none.h5}, {path: gone.h5}]"]
        errors = self.refused(2, "groups[0]: matches no parameter", "groups[1]", "num_key_heads: 1",
                              "num_value_heads: 3", "none.h5", "gone.h5", arguments=faults, ranks=2)
        _, checked = self.braid("config", "check", "base.yaml", *faults, expect=2)
        self.assertEqual([line for line in checked.splitlines() if line not in errors], [])
        errors = self.refused(3, "none.h5", "gone.h5", arguments=faults[-1:])
        self.assertEqual(self.braid("config", "check", "base.yaml", *faults[-1:], expect=3)[1], errors)

    def test_what_is_surely_not_meant_is_a_warning(self):
        top1 = ["model.sublayers.moe.experts_per_token=1", "train.steps=5", "checkpoint.every=0", "eval.every=0"]
        out, _ = self.train("top1", *top1)
        self.assertIn("warning: model.sublayers.moe.router.normalize: ", out)
        self.assertIn("router no gradient", (self.folder / "runs" / "top1" / "log.txt").read_text(encoding="utf-8"))
        deep = ["model.pattern=(gdn+moe)*3, attn+moe", "train.steps=5", "checkpoint.every=0", "eval.every=0"]
        _, errors = self.train("deep", *deep, ranks=2)
        self.assertEqual(errors.count("warning: model.pattern: base.yaml has 2 layer(s), with the override 4;"), 1,
                         errors)
        _, errors = self.train("equal", "model.num_layers=4", *deep)
        self.assertNotIn("warning", errors)

    def test_run_folder(self):
        self.train("used", "train.stop_at=2")
        message = self.refused(2, "optimizer.lr", "0.003", "0.004", arguments=["optimizer.lr=4.0e-3"], name="used")
        self.assertIn("run folder", message)
        self.refused(2, "never", arguments=["--resume", "never"], name="used")
        with open(self.folder / "runs" / "used" / ".lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for ranks in (0, 2):
                self.refused(7, "runs/used", name="used", ranks=ranks)

    def test_checkpoint(self):
        self.train("source", "train.stop_at=2")
        self.refused(4, "model.norm.placement",
                     arguments=["model.norm.placement=post", "--resume", "runs/source"], name="other")
        checkpoint = self.folder / "runs" / "source" / "checkpoints" / "step-00000002"
        with open(checkpoint / "rank-00000.h5", "r+b") as file:
            file.seek(-100, os.SEEK_END)
            byte = file.read(1)
            file.seek(-100, os.SEEK_END)
            file.write(bytes([byte[0] ^ 1]))
        for ranks in (0, 2):
            self.refused(4, "step-00000002", name="source", ranks=ranks)

    def test_divergence(self):
        self.refused(5, "step", arguments=["optimizer.lr=1000", "optimizer.clip=0", "optimizer.eps=1.0e-30"],
                     name="diverged", ranks=2)
        self.assertFalse((self.folder / "runs" / "diverged" / "checkpoints" / "step-00000100").exists())

    def test_more_tokens_than_an_experts_rank_takes(self):
        experts = ["parallel.expert=2", "train.steps=6"]
        bound = "model.sublayers.moe.receive_tokens"
        self.train("whole", *experts, ranks=2)
        self.train("load", *experts, "train.stop_at=2", ranks=2)
        files = sorted((self.folder / "runs" / "load" / "checkpoints").rglob("*"))
        errors = self.refused(5, "step 3, nothing was updated: layers.0.moe: ", "at most 9 tokens", bound,
                              "expert: choices", arguments=[*experts, f"{bound}=9"], name="load", ranks=2)
        # The table once: a line for each rank with the choices of its two experts.
        tokens = sum(int(found) for found in re.findall(r"\d+: (\d+)", errors))
        self.assertEqual([len(re.findall(rf"^ +{rank} +\d+  {2 * rank}: \d+, {2 * rank + 1}: \d+$", errors, re.M))
                          for rank in (0, 1)], [1, 1], errors)
        self.assertEqual(tokens, 2 * 3 * 32, "two choices for each of the tokens of a micro-batch")
        self.assertEqual(sorted((self.folder / "runs" / "load" / "checkpoints").rglob("*")), files)
        record = json.loads((self.folder / "runs" / "load" / "run.json").read_text(encoding="utf-8"))
        self.assertEqual(record["starts"][-1]["exit_code"], 5)
        self.refused(5, "evaluation after step 0: layers.0.moe: ", name="start", ranks=2,
                     arguments=[*experts, f"{bound}=9", "eval.at_start=true"])
        # With room for the tokens of all micro-batches it goes on as if nothing had happened.
        self.train("load", *experts, f"{bound}=128", ranks=2)
        self.assertEqual([line["loss"] for line in self.metrics("load")],
                         [line["loss"] for line in self.metrics("whole")])


if __name__ == "__main__":
    unittest.main()
