#!/usr/bin/env python3
# ctest: labels=unit timeout=300 processors=1
"""Every sweep of configs/sweeps can be run: its variants exist, match in size, and are as many as its axes say."""

import math
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

BRAID = os.environ["BRAID"]
FOLDER = pathlib.Path(os.environ["BRAID_SOURCE_DIR"]) / "configs" / "sweeps"
SWEEPS = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.startswith("base-"))


def count(seeds):
    return seeds if isinstance(seeds, int) else len(seeds)


def levels(axis):
    return len(axis["values"] if "values" in axis else axis["variants"])


class Sweeps(unittest.TestCase):
    def list_runs(self, path):
        with tempfile.TemporaryDirectory(prefix="braid-test-") as folder:
            done = subprocess.run([BRAID, "sweep", str(path), "--list"], cwd=folder, capture_output=True, text=True,
                                  timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return [line.split()[-1] for line in done.stdout.splitlines() if line.split()[1] == "missing"]

    def test_there_is_a_demo_and_a_night_of_each(self):
        names = {path.stem.rsplit("-", 1)[0] for path in SWEEPS if path.stem.endswith(("-demo", "-night"))}
        self.assertEqual(names, {"norms", "ratio", "mixers", "experts"})
        for name in names:
            self.assertTrue((FOLDER / f"{name}-demo.yaml").exists() and (FOLDER / f"{name}-night.yaml").exists())

    def test_each_lists_its_runs(self):
        for path in SWEEPS:
            with self.subTest(path.name):
                sweep = yaml.safe_load(path.read_text(encoding="utf-8"))
                variants = math.prod(levels(axis) for axis in sweep["axes"].values()) - len(sweep.get("exclude", []))
                runs = self.list_runs(path)
                if "tune" in sweep:
                    expected = variants * len(sweep["tune"]["values"]) * count(sweep["tune"]["seeds"])
                else:
                    expected = variants * count(sweep["seeds"])
                self.assertEqual(len(runs), expected)
                self.assertEqual(len({re.sub(r"_s\d+$", "", run) for run in runs}),
                                 variants * (len(sweep["tune"]["values"]) if "tune" in sweep else 1))


if __name__ == "__main__":
    unittest.main()
