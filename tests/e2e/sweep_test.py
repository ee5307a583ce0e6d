#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""braid sweep as a user meets it: one file in, runs, a verdict out; stopped, shared out, changed, and in one job."""

import csv
import json
import os
import signal
import subprocess
import time
import unittest

from training_case import BRAID, BRAID_MPIRUN, TrainingCase

SWEEP = """\
name: norms
extends: base.yaml
set: {model.pattern: "attn+mlp", model.sublayers.moe: null, model.sublayers.gdn: null, train.steps: 6, eval.every: 3,
      model.sublayers.mlp: {type: mlp, size: 24}}
axes:
  placement: {key: model.norm.placement, values: [pre, post]}
  qk: {variants: {with: {}, without: {model.sublayers.attn.qk_norm: none}}}
reference: {placement: pre, qk: with}
seeds: 2
outcome: {metric: eval/held/loss}
matters: 0.05
"""
VARIANTS = [f"placement-{placement}_qk-{qk}" for placement in ("pre", "post") for qk in ("with", "without")]
RUNS = [f"runs/{variant}_s{seed}" for seed in (5, 6) for variant in VARIANTS]


class Sweep(TrainingCase):
    def setUp(self):
        super().setUp()
        self.write("norms.yaml", SWEEP)

    def write(self, name, text):
        (self.folder / name).write_text(text, encoding="utf-8")

    def table(self, name="norms"):
        with open(self.folder / "sweeps" / name / "table.csv", encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))

    def verdict(self, name="norms"):
        return json.loads((self.folder / "sweeps" / name / "verdict.json").read_text(encoding="utf-8"))

    def run_metrics(self, run, name="norms"):
        with open(self.folder / "sweeps" / name / run / "metrics.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def test_every_combination_is_run_and_judged(self):
        listed, _ = self.braid("sweep", "norms.yaml", "--list")
        self.assertEqual([line.split()[-1] for line in listed.splitlines()], RUNS)
        self.assertFalse((self.folder / "sweeps").exists())
        out, _ = self.braid("sweep", "norms.yaml")
        self.assertIn("8/8 runs/placement-post_qk-without_s6: ended", out)
        self.assertRegex(out, r"placement post, qk without: (better|worse|equal|undecided)")
        rows = self.table()
        self.assertEqual([row["folder"] for row in rows], RUNS)
        for row in rows:
            self.assertEqual(row["state"], "ended")
            last = self.run_metrics(row["folder"])[-1]
            self.assertEqual(float(row["eval/held/loss"]), last["eval/held/loss"])
        verdict = self.verdict()
        self.assertEqual(verdict["state"], {"planned": 8, "done": 8, "running": 0, "diverged": 0, "failed": 0,
                                            "missing": 0})
        self.assertEqual([variant["id"] for variant in verdict["variants"]], VARIANTS)
        for variant in verdict["variants"][1:]:
            difference = variant["difference"]
            self.assertLess(difference["low"], difference["estimate"])
            self.assertLess(difference["estimate"], difference["high"])
        # Again: nothing is left to do, and nothing is done again.
        before = {run: (self.folder / "sweeps/norms" / run / "run.json").read_bytes() for run in RUNS}
        self.braid("sweep", "norms.yaml")
        for run, text in before.items():
            self.assertEqual((self.folder / "sweeps/norms" / run / "run.json").read_bytes(), text)
        # A run of a sweep is what the same run is alone, and variants begin with the same weights and data.
        self.braid("train", "base.yaml", "name=alone", "run_dir=alone", "seed=6", 'model.pattern="attn+mlp"',
                   "model.sublayers.moe=null", "model.sublayers.gdn=null", "model.sublayers.mlp={type: mlp, size: 24}",
                   "train.steps=6", "eval.every=3", "model.norm.placement=post")
        self.braid("checkpoint", "diff", "alone", "sweeps/norms/runs/placement-post_qk-with_s6")
        record = json.loads((self.folder / "sweeps/norms" / RUNS[0] / "run.json").read_text(encoding="utf-8"))
        self.assertEqual(record["starts"][0]["labels"]["variant"], VARIANTS[0])
        self.assertEqual(record["starts"][0]["labels"]["plan"], verdict["plan_hash"])

    LENGTHS = """\
name: lengths
extends: base.yaml
set: {eval.every: 3, optimizer.lr: 0.003, optimizer.schedule: {type: wsd, warmup_steps: 2, decay_steps: 3}}
axes:
  length:
    variants:
      short: {train.steps: 6}
      middle: {train.steps: 9}
      long: {train.steps: 12}
reference: {length: long}
seeds: 2
outcome: {metric: eval/held/loss}
matters: 0.05
"""

    def test_decays_from_one_stable_run_share_it(self):
        self.write("lengths.yaml", self.LENGTHS)
        out, _ = self.braid("sweep", "lengths.yaml", "--list")
        first = ["trunk/length-long_s5@3", "runs/length-short_s5", "trunk/length-long_s5@6", "runs/length-middle_s5",
                 "runs/length-long_s5"]
        self.assertEqual([line.split()[-1] for line in out.splitlines()],
                         first + [name.replace("s5", "s6") for name in first])
        # A run of an array that needs a trunk grows it.
        self.braid("sweep", "lengths.yaml", "--only", "3")
        states = {row["folder"]: row["state"] for row in self.table("lengths")}
        self.assertEqual([states[name] for name in first], ["ended", "missing", "ended", "ended", "missing"])
        self.braid("sweep", "lengths.yaml", "--groups", "2", ranks=2)
        self.assertEqual({row["state"] for row in self.table("lengths")}, {"ended"})
        for name, steps in (("short", 6), ("middle", 9), ("long", 12)):
            self.braid("train", "base.yaml", f"name={name}", f"run_dir={name}", "seed=6", f"train.steps={steps}",
                       "eval.every=3", "optimizer.lr=0.003",
                       "optimizer.schedule={type: wsd, warmup_steps: 2, decay_steps: 3}")
            # A branch knows that it is one; nothing else differs.
            out, _ = self.braid("checkpoint", "diff", name, f"sweeps/lengths/runs/length-{name}_s6", expect=1)
            self.assertEqual({line.split("/")[1] for line in out.splitlines() if line}, {"branch", "start"}, out)
            alone = (self.folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            self.assertEqual(self.run_metrics(f"runs/length-{name}_s6", "lengths")[-1]["eval/held/loss"],
                             json.loads(alone[-1])["eval/held/loss"])
        self.assertEqual({variant["id"] for variant in self.verdict("lengths")["variants"]},
                         {"length-short", "length-middle", "length-long"})

    def test_halving_tunes_on_branches(self):
        self.write("halved.yaml", self.LENGTHS.replace("name: lengths", "name: halved").replace(
            "      short: {train.steps: 6}\n      middle: {train.steps: 9}\n      long: {train.steps: 12}\n",
            "      short: {train.steps: 12}\n      long: {train.steps: 13}\n")
            + "tune: {key: optimizer.lr, values: [0.002, 0.003, 0.004], seeds: [90], method: halving}\n")
        out, _ = self.braid("sweep", "halved.yaml", "--dry-run")
        self.assertIn("to tune optimizer.lr", out)
        self.braid("sweep", "halved.yaml")
        rows = self.table("halved")
        self.assertEqual({row["state"] for row in rows}, {"ended"})
        tuned = [row["folder"] for row in rows if row["role"] == "tune"]
        # All values in half the steps first, two of them in whole runs.
        self.assertGreaterEqual(sum("_steps-6_" in name for name in tuned), 6)
        self.assertEqual(sum("_steps-" not in name for name in tuned), 4)
        chosen = [point for point in self.verdict("halved")["tuning"]["points"] if point["chosen"]]
        self.assertEqual(len(chosen), 2)
        self.assertNotIn("steps", chosen[0])

    def test_groups_share_the_runs_and_change_no_bit(self):
        self.braid("sweep", "norms.yaml", ranks=2)
        one = {row["folder"]: row["eval/held/loss"] for row in self.table()}
        self.write("groups.yaml", SWEEP.replace("name: norms", "name: groups"))
        out, _ = self.braid("sweep", "groups.yaml", "--groups", "2", ranks=4)
        self.assertIn("ended", out)
        self.assertEqual({row["folder"]: row["eval/held/loss"] for row in self.table("groups")}, one)
        _, err = self.braid("sweep", "groups.yaml", "--groups", "3", ranks=4, expect=2)
        self.assertIn("--groups 3: expected a divisor of the 4 ranks", err)

    def test_a_stop_loses_nothing(self):
        text = SWEEP.replace("name: norms", "name: long").replace("train.steps: 6", "train.steps: 3000")
        self.write("long.yaml", text.replace("eval.every: 3", "eval.every: 3000"))
        process = subprocess.Popen([BRAID, "sweep", "long.yaml"], cwd=self.folder, env=self.environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.kill)
        metrics = self.folder / "sweeps/long" / RUNS[0] / "metrics.jsonl"
        deadline = time.monotonic() + 100
        while not (metrics.exists() and metrics.read_text(encoding="utf-8").count("\n") > 3):
            self.assertLess(time.monotonic(), deadline)
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=100)
        self.assertEqual(process.returncode, 75)
        row = self.table("long")[0]
        self.assertEqual(row["state"], "unfinished")
        self.assertGreater(int(row["steps"]), 3)
        out, _ = self.braid("sweep", "long.yaml", "--list")
        self.assertEqual([line.split()[1] for line in out.splitlines()], ["unfinished"] + ["missing"] * 7)

    def test_one_run_of_an_array(self):
        self.braid("sweep", "norms.yaml", "--only", "5")
        states = [row["state"] for row in self.table()]
        self.assertEqual(states, ["missing"] * 5 + ["ended"] + ["missing"] * 2)
        _, err = self.braid("sweep", "norms.yaml", "--only", "8", expect=2)
        self.assertIn("--only 8: 8 runs can be named by now (0 to 7)", err)

    def test_a_plan_that_changed_is_refused_or_said(self):
        self.braid("sweep", "norms.yaml", "--only", "0")
        self.write("norms.yaml", SWEEP.replace("matters: 0.05", "matters: 0.5"))
        _, err = self.braid("sweep", "norms.yaml", expect=2)
        self.assertIn("matters: 0.05 -> 0.5", err)
        self.write("norms.yaml", SWEEP)
        text = (self.folder / "base.yaml").read_text(encoding="utf-8")
        self.write("base.yaml", text.replace("lr: 3.0e-3", "lr: 2.0e-3"))
        _, err = self.braid("sweep", "norms.yaml", expect=2)
        self.assertIn("base.yaml: optimizer.lr: 0.003 -> 0.002", err)
        self.write("base.yaml", text + "log: {every: 2}\n")   # changes no number
        self.write("norms.yaml", SWEEP.replace("matters: 0.05", "matters: 0.5"))
        self.braid("sweep", "norms.yaml", "--only", "1", "--accept-change")
        self.assertEqual(self.verdict()["plan_changes"], ["matters: 0.05 -> 0.5"])
        self.assertTrue((self.folder / "sweeps/norms/sweep-1.yaml").exists())

    def test_divergence_is_a_result(self):
        self.write("wild.yaml", """\
name: wild
extends: base.yaml
set: {train.steps: 6, eval.every: 3}
axes:
  scale:
    variants:
      tame: {}
      wild: {model.residual.stream_scale: 1000, model.pattern: "(gdn+moe, attn+moe)*4"}   # 1000 to the 16th is too much
reference: {scale: tame}
seeds: 2
outcome: {metric: eval/held/loss}
matters: 0.05
""")
        self.braid("sweep", "wild.yaml")
        self.assertEqual([row["state"] for row in self.table("wild")], ["ended", "diverged"] * 2)
        wild = self.verdict("wild")["variants"][1]
        self.assertEqual((wild["diverged"], wild["of"]), (2, 2))
        self.assertEqual(wild["difference"]["verdict"], "diverged")

    def test_what_fails_does_not_stop_the_others(self):
        blocked = self.folder / "sweeps/norms/runs"
        blocked.mkdir(parents=True)
        (blocked / (os.path.basename(RUNS[0]))).write_text("no folder", encoding="utf-8")
        out, _ = self.braid("sweep", "norms.yaml", expect=7)
        self.assertIn("7/8", out)
        self.assertEqual([row["state"] for row in self.table()][1:], ["ended"] * 7)

    def test_bad_sweeps_are_refused_before_anything_runs(self):
        for old, new, expected in (
                ("model.norm.placement", "model.norm.placment", "did you mean model.norm.placement?"),
                ("{model.sublayers.attn.qk_norm: none}", "{model.sublayers.attn.num_heads: 3}", "num_kv_heads"),
                ("matters: 0.05", "", "matters: required"),
                ("eval/held/loss", "eval/other/loss", "expected one of loss, eval_loss, eval/held/loss")):
            self.write("bad.yaml", SWEEP.replace(old, new).replace("num_heads: 3", "num_kv_heads: 3"))
            _, err = self.braid("sweep", "bad.yaml", expect=2)
            self.assertIn(expected, err)
            self.assertFalse((self.folder / "sweeps").exists())
        _, err = self.braid("sweep", "norms.yaml", "--look", "2", expect=2)
        self.assertIn("--look 2: the plan has 1", err)


if __name__ == "__main__":
    unittest.main()
