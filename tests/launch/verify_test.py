# ctest: labels=mpi timeout=180 processors=2
"""What `braid verify` promises: a table, exit 0 where layouts are equal, exit 2 within seconds where they cannot be."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import unittest

from training_case import exit_codes, expect_prompt

BRAID = os.environ["BRAID"]
CONFIG = str(pathlib.Path(os.environ["BRAID_SOURCE_DIR"]) / "configs/twins/qwen3-next.yaml")


def verify(*arguments, ranks=0):
    launcher = [os.environ["BRAID_MPIRUN"], "-n", str(ranks)] if ranks else []
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        done = subprocess.run([*launcher, BRAID, "verify", CONFIG, *arguments], cwd=folder, timeout=150,
                              capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr, time.monotonic() - start


class Verify(unittest.TestCase):
    def expect_equal(self, out, layouts):
        header, *lines = out.splitlines()
        self.assertIn("  eps 1e-08  ", header)  # what the run file says by default
        rows = [re.split(r" {2,}", line.strip()) for line in lines]
        self.assertEqual([row[0] for row in rows], layouts)
        for row in rows:
            self.assertEqual(row[3], "equal", row)
            self.assertLessEqual(float(row[2]), 1e-12)
            self.assertLess(float(row[4]), 1e-3)  # the update's error with that eps, which no bound judges

    def test_layouts_on_threads(self):
        layouts = ["data=2", "tensor=2", "tensor=2,sequence=false,zero=0", "expert=2,data=2",
                   "tensor=2,expert=2,expert_tensor=2", "data=3,reduction=library"]
        code, out, err, _ = verify("--shrink", "--layouts", "; ".join(layouts))
        self.assertEqual((code, err), (0, ""), out)
        self.expect_equal(out, layouts)

    def test_layouts_on_processes(self):
        layouts = ["tensor=2", "expert=2", "tensor=2,expert=2", "expert=2,data=2,zero=0,reduction=library"]
        code, out, err, _ = verify("--shrink", "--layouts", "; ".join(layouts), ranks=4)
        self.assertEqual((code, err), (0, ""), out)
        self.expect_equal(out, layouts)

    def test_f32_replays_routing(self):
        layouts = ["data=2", "tensor=2,expert=2", "expert=4,tensor=2"]
        for ranks in (0, 4):
            asked = "; ".join(layouts[:2] if ranks else layouts)
            code, out, err, _ = verify("--shrink", "--precision", "f32", "--layouts", asked, ranks=ranks)
            self.assertEqual((code, err), (0, ""), out)
            first, header, *rows = out.splitlines()
            alone = float(re.search(r"one rank in f32 differs from f64 by (\S+) ", first)[1])
            bound = float(re.search(r"at most (\S+) is equal", header)[1])
            self.assertAlmostEqual(bound / alone, 20, delta=0.2)  # 400 terms; both are printed in three digits
            self.assertGreater(alone, 1e-8)
            self.assertLess(bound, 1e-3)
            for row, layout in zip(rows, layouts):
                fields = re.split(r" {2,}", row.strip())
                self.assertEqual((fields[0], fields[3]), (layout, "equal"))
                self.assertLessEqual(float(fields[2]), bound)
                self.assertRegex(fields[5], r"^\d+ of 3200$")  # 4 MoE layers, 2 steps of 5 sequences of 80 tokens

    def test_other_precisions_are_refused(self):
        code, out, err, _ = verify("--precision", "bf16", "--layouts", "data=2")
        self.assertEqual((code, out), (2, ""))
        self.assertIn("expected f64 or f32, found 'bf16'", err)

    def test_what_cannot_be_is_refused(self):
        for layouts, words in [("tensor=3", ["num_key_heads", "parallel.tensor: 3", "1, 2",
                                             "layouts that would work on 3 ranks: data=3"]),
                               ("expert=5", ["num_experts", "parallel.expert: 5"]),
                               ("pipelin=2", ["--layouts: 'pipelin=2': pipelin: unknown key", "expert_tensor"]),
                               ("pipeline=2", ["pipeline: not built yet"]),
                               ("tensor=0", ["tensor: expected", "from 1 to 65536", "found 0"]),
                               ("tensor=2,tensor=2", ["tensor is there twice"]),
                               ("micro_batch=0", ["micro_batch: expected", "from 1", "found 0"]),
                               ("sequence=maybe", ["sequence: expected", "found maybe"]),
                               ("tensor=32,expert=8", ["needs 256 ranks, at most 64"]),
                               ("tensor", ["AXIS=SIZE"]),
                               ("", ["at least one layout"])]:
            code, out, err, seconds = verify("--shrink", "--layouts", layouts)
            self.assertEqual((code, out), (2, ""), layouts)
            for word in words:
                self.assertIn(word, err)
            self.assertLess(seconds, 5)

    def expect_refused_by_six(self, layouts, *words):
        """Every rank ends with 2, one of them says why, and all that within the five seconds promised."""
        code, out, err, seconds = verify("--shrink", "--layouts", layouts, ranks=6)
        self.assertEqual((code, out), (2, ""))
        self.assertEqual(err.count("braid:"), 1, err)
        for word in words:
            self.assertIn(word, err)
        expect_prompt(self, seconds, 6)
        self.assertEqual(exit_codes(6, "verify", CONFIG, "--shrink", "--layouts", layouts), [2] * 6)

    def test_layouts_that_do_not_fit_are_refused_by_all_ranks_with_those_that_would(self):
        self.expect_refused_by_six("tensor=3,data=2", "'tensor=3,data=2'", "num_key_heads: 2", "parallel.tensor: 3",
                                   "layouts that would work on 6 ranks: tensor=2,data=3; data=6")
        self.expect_refused_by_six("data=2; tensor=2,expert=4", "needs 8 ranks, and this job has 6",
                                   "layouts that would work on 6 ranks: expert=2,data=3;")
        self.expect_refused_by_six("tensro=2", "--layouts: 'tensro=2': tensro: unknown key; did you mean tensor?",
                                   "expected an axis (data, tensor, expert, expert_tensor)")


if __name__ == "__main__":
    unittest.main()
