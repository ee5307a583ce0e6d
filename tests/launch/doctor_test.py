#!/usr/bin/env python3
# ctest: labels=mpi timeout=120 processors=2
"""What `braid doctor` promises: a report alone and under ranks, a table in a file, and refusals by exit code."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BRAID = os.environ["BRAID"]


class Doctor(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def doctor(self, *arguments, ranks=0, expect=0, kernels=None):
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        env.pop("OPENBLAS_CORETYPE", None)
        if kernels:
            env["OPENBLAS_CORETYPE"] = kernels
        launcher = [os.environ["BRAID_MPIRUN"], "-n", str(ranks)] if ranks else []
        done = subprocess.run([*launcher, BRAID, "doctor", *arguments], cwd=self.folder, timeout=100,
                              env=env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout, done.stderr

    def test_alone(self):
        out, _ = self.doctor("--device", "cpu")
        for words in ("braid ", "processor:", "openblas:", "hdf5:", "1 rank(s)", "cpu   f32", "cpu   bf16", "host "):
            self.assertIn(words, out)
        self.assertIn("no collectives to measure", out)
        # The program needs AVX2; a library that does not know the processor would do without.
        line = next(line for line in out.splitlines() if line.startswith("openblas:"))
        self.assertRegex(line, "Haswell|Zen|SkylakeX|Cooperlake|SapphireRapids|Excavator|Steamroller")
        self.assertNotIn("OPENBLAS_CORETYPE", out)

    def test_kernels_asked_for(self):
        out, _ = self.doctor("--device", "cpu", kernels="Nehalem")
        self.assertRegex(out, r"openblas: .*\bNehalem\b")
        self.assertRegex(out, r"advice: OpenBLAS runs its kernels for Nehalem, .* OPENBLAS_CORETYPE=(Haswell|SkylakeX)")

    def test_table_of_two_ranks(self):
        out, _ = self.doctor("--device", "cpu", "--calibrate", "-o", "table.json", "--max-bytes", "65536", ranks=2)
        self.assertEqual(out.count("processor:"), 1, "rank 0 alone prints")
        table = json.loads((self.folder / "table.json").read_text(encoding="utf-8"))
        self.assertEqual((table["format"], table["version"], len(table["hosts"])), ("braid-calibration", 1, 2))
        self.assertEqual([row["precision"] for row in table["gemm"]], ["f32", "f64", "bf16"])
        self.assertEqual([row["kind"] for row in table["copy"]], ["host"])
        self.assertEqual({row["collective"] for row in table["collective"]},
                         {"all-reduce", "all-gather", "reduce-scatter", "all-to-all"})
        self.assertEqual(sorted({row["bytes"] for row in table["collective"]}), [4096, 16384, 65536])
        for row in table["gemm"]:
            self.assertGreater(row["slowest_rank"], 0)
            self.assertGreaterEqual(row["flops_per_second"], 2 * row["slowest_rank"])
        for row in table["copy"]:
            self.assertGreater(row["bytes_per_second"], 0)
        for row in table["collective"]:
            factor = 1 if row["collective"] == "all-reduce" else 0.5   # of two ranks
            self.assertAlmostEqual(row["bus_bytes_per_second"] * row["seconds"] / row["bytes"], factor)

    def test_files_are_kept(self):
        path = self.folder / "braid-calibration.json"
        path.write_text("mine", encoding="utf-8")
        _, errors = self.doctor("--device", "cpu", "--calibrate", expect=7)
        self.assertIn("braid-calibration.json: exists already", errors)
        self.assertEqual(path.read_text(encoding="utf-8"), "mine")
        self.doctor("--device", "cpu", "--calibrate", "--force")
        self.assertEqual(json.loads(path.read_text(encoding="utf-8"))["collective"], [])
        self.assertEqual([entry.name for entry in self.folder.iterdir()], [path.name])

    def test_bad_options_are_refused(self):
        for arguments in (["--device", "tpu"], ["-o", "x.json"], ["--force"], ["--max-bytes", "1"], ["more"]):
            self.doctor(*arguments, expect=2)


if __name__ == "__main__":
    unittest.main()
