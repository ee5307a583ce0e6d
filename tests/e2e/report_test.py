#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""braid report: formats, what it says of unusual runs, what it refuses; on run folders written by hand."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

BRAID = os.environ["BRAID"]
HOSTILE = "</script><script>alert(1)</script>"


def make_run(folder, seed=1, steps=20, lr="0.001", data="train.h5"):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: {folder.name}\nseed: {seed}\noptimizer:\n  lr: {lr}\n"
                                        f"data:\n  train:\n    - path: {data}\n")
    lines = [{"step": step, "tokens": 64 * step, "loss": 5 / step, "step_seconds": 0.5} for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    start = {"command": ["braid", "train", HOSTILE], "tokens": 64 * steps, "flops": 1e6, "hours": 0.1, "ranks": 2}
    (folder / "run.json").write_text(json.dumps({"step": steps, "hours": 0.1, "exit_code": 0, "starts": [start]}))


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name, keywords in (("a", {}), ("b", {"seed": 2}), ("c", {"lr": "0.002", "data": "other.h5"})):
            make_run(self.folder / name, **keywords)

    def report(self, *arguments, expect=0):
        done = subprocess.run([BRAID, "report", *arguments], cwd=self.folder, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done.stderr if expect else done.stdout

    def page_data(self, *arguments):
        self.report(*arguments, "-o", "r.html")
        page = (self.folder / "r.html").read_text()
        self.assertNotIn(HOSTILE, page)
        self.assertIn("default-src 'none'", page)
        return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])

    def test_page(self):
        data = self.page_data("a", "b", "c")
        self.assertEqual([group["runs"] for group in data["groups"]], [[0, 1], [2]])
        self.assertEqual(data["runs"][0]["curves"]["loss"]["mean"][0], 5)
        self.assertEqual(data["runs"][0]["final"]["loss"], 0.25)
        self.assertEqual(data["runs"][0]["starts"][0]["command"][2], HOSTILE)
        self.assertIn("optimizer.lr", [one["key"] for one in data["differences"]])
        self.assertIn("differ in their data", data["warnings"][0])

    def test_formats(self):
        self.assertIn("| a | ended | 1 | 20 | 0.2500 |", self.report("a", "--format", "md", "-o", "-"))
        self.assertIn("\na,ended,1,20,0.25,", self.report("a", "--format", "csv", "-o", "-"))
        self.assertIn("\\toprule", self.report("a", "--format", "tex", "-o", "-"))
        if shutil.which("gnuplot"):
            self.report("a", "c", "-o", "loss.svg")
            self.assertIn("<svg", (self.folder / "loss.svg").read_text())

    def test_tasks(self):
        with open(self.folder / "a" / "metrics.jsonl", "a", encoding="utf-8") as file:
            for step, accuracy in ((21, 0.25), (22, 0.75)):
                file.write(json.dumps({"step": step, "tokens": 64 * step, "loss": 1.0, "task/quiz/accuracy": accuracy,
                                       "task/quiz/accuracy_stderr": 0.125, "task/quiz/bits_per_byte": 1.5}) + "\n")
        run = self.page_data("a", "b")["runs"][0]
        self.assertEqual(run["curves"]["task/quiz/accuracy"], {"step": [21, 22], "mean": [0.25, 0.75]})
        rows = [line.split(",") for line in self.report("a", "b", "--format", "csv", "-o", "-").splitlines()]
        column = rows[0].index("task/quiz/accuracy")
        self.assertEqual([row[column] for row in rows[1:]], ["0.75", ""])
        self.assertEqual(rows[1][rows[0].index("task/quiz/accuracy_stderr")], "0.125")
        text = self.report("a", "--format", "md", "-o", "-")
        self.assertIn("task/quiz/bits\\_per\\_byte", text)
        self.assertIn("| 0.7500 | 0.1250 | 1.5000 |", text)

    def test_samples(self):
        self.assertEqual(self.page_data("a")["runs"][0]["samples"], [])
        for run in range(9):
            make_run(self.folder / f"s{run}")
            lines = [{"step": step, "prompt": HOSTILE, "text": HOSTILE} for step in range(1, 23)]
            (self.folder / f"s{run}" / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        data = self.page_data(*[f"s{run}" for run in range(9)])
        self.assertEqual([one["step"] for one in data["runs"][0]["samples"]], list(range(22, 2, -1)))
        self.assertEqual(data["runs"][0]["samples"][0]["text"], HOSTILE)
        self.assertEqual([len(run["samples"]) for run in data["runs"]], 8 * [20] + [0])
        self.assertIn("s0: samples of 2 earlier step(s) are left out", data["sample_notes"])
        self.assertIn("samples of 1 further run(s) are left out", data["sample_notes"])
        (self.folder / "s0" / "samples.jsonl").write_text('{"step":1,"prompt":"p"}\n')
        self.assertIn("s0/samples.jsonl:1: expected an object with step, prompt and text, found {",
                      self.report("s0", "-o", "r.html", expect=3))

    def test_price(self):
        self.assertIn("| run | status |", self.report("a", "--format", "md", "-o", "-"))
        rows = self.report("a", "--format", "csv", "--price", "2.5", "-o", "-").splitlines()
        self.assertEqual(rows[0].split(",")[-3:], ["rank_hours", "step_rank_hours", "money"])
        self.assertEqual([float(cell) for cell in rows[1].split(",")[-3:]], [0.2, 2 * 20 * 0.5 / 3600, 0.5])
        for bad in ("0", "-1", "nan", "two"):
            self.assertIn("--price", self.report("a", "-o", "r.html", "--price", bad, expect=2))

    def test_csv_of_a_sweep(self):
        sweep = self.folder / "sweeps" / "s"
        make_run(sweep / "runs" / "x_s1")
        (sweep / "sweep.yaml").write_text("name: s\n")
        self.assertEqual(self.report("sweeps/s", "-o", "t.csv").split(), ["wrote", "t.csv", "wrote", "t-cost.csv"])
        difference = {"estimate": 0.5, "low": 0.25, "high": 0.75, "p": 0.01, "verdict": "worse"}
        variants = [{"id": "x", "mean": 1.0, "by_seed": {"1": 1.0}, "difference": difference}]
        (sweep / "verdict.json").write_text(json.dumps({"format": 1, "variants": variants}))
        self.assertIn("wrote t-verdicts.csv\n", self.report("sweeps/s", "-o", "t.csv"))
        heads, row = [line.split(",") for line in (self.folder / "t-verdicts.csv").read_text().splitlines()]
        told = dict(zip(heads, row))
        self.assertEqual([told[name] for name in ("variant", "difference", "low", "high", "p", "verdict", "seeds")],
                         ["x", "0.5", "0.25", "0.75", "0.01", "worse", "1"])
        self.assertTrue((self.folder / "t.csv").read_text().startswith("run,status,"))
        self.assertIn("\nx_s1,ended,", (self.folder / "t.csv").read_text())

    def test_unusual_runs(self):
        with open(self.folder / "a" / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write('{"step":21,"tokens":1344,"loss":null}\n{"step":22,"tok')
        run = self.page_data("a")["runs"][0]
        self.assertIsNone(run["final"]["loss"])
        self.assertIn("step 21", " ".join(run["notes"]))
        self.assertIn("torn", " ".join(run["notes"]))

    def test_refusals(self):
        (self.folder / "none").mkdir()
        self.assertIn("none: expected a run folder", self.report("a", "none", "-o", "r.html", expect=2))
        (self.folder / "b" / "metrics.jsonl").write_text("{\n")
        self.assertIn("b/metrics.jsonl:1", self.report("b", "-o", "r.html", expect=3))
        self.assertFalse((self.folder / "r.html").exists())

    def test_sweep(self):
        sweep = self.folder / "sweeps" / "s"
        make_run(sweep / "runs" / "x-1")
        (sweep / "sweep.yaml").write_text("name: s\n")
        (sweep / "verdict.json").write_text(json.dumps({"format": 1, "variants": [{"id": HOSTILE, "mean": 1.0}]}))
        data = self.page_data("sweeps/s")
        self.assertEqual(data["verdict"]["variants"][0]["id"], HOSTILE)
        (sweep / "verdict.json").write_text("[")
        self.assertIn("verdict.json", self.report("sweeps/s", "-o", "r.html", expect=3))

    def test_follow(self):
        record = json.loads((self.folder / "a" / "run.json").read_text())
        code = record.pop("exit_code")
        (self.folder / "a" / "run.json").write_text(json.dumps(record))
        process = subprocess.Popen([BRAID, "report", "a", "-o", "f.html", "--follow", "--every", "1"], cwd=self.folder)
        self.addCleanup(process.kill)
        page = self.folder / "f.html"
        while not page.exists():
            time.sleep(0.05)
        self.assertIn('"follow":1,', page.read_text())
        (self.folder / "a" / "run.json").write_text(json.dumps(dict(record, exit_code=code)))
        self.assertEqual(process.wait(timeout=30), 0)
        self.assertIn('"follow":0,', page.read_text())


if __name__ == "__main__":
    unittest.main()
