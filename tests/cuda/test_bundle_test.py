#!/usr/bin/env python3
# ctest: labels=cuda timeout=300 processors=2
"""launch/bundle.sh --tests: where nothing is installed its programs link, and skip what needs a GPU."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from bare_root import command_in, find_namespace, make_root

BRAID = os.environ["BRAID"]
SOURCE = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])
MAX_BYTES = 55_000_000
ARCHIVES = ("braid-bundle.tar.xz", "braid-bundle-tests.tar.xz")


def gpu_libraries():
    """The folders of what a target has for its GPUs."""
    listed = subprocess.run(["ldd", BRAID], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"(?:libcuda|libcublas|libnccl|libnv)\S* => (/\S+)", listed)
    return sorted({os.path.dirname(os.path.realpath(path)) for path in found})


class TestBundle(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="braid-bundle-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.out = pathlib.Path(os.path.realpath(folder.name)) / "out"
        cls.root = cls.out.parent / "root"
        make_root(cls.root, BRAID)
        done = subprocess.run([SOURCE / "launch/bundle.sh", "--program", BRAID, "--tests", "-o", cls.out],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        (cls.root / "opt").mkdir()
        for archive in ARCHIVES:
            subprocess.run(["tar", "-C", cls.root / "opt", "-xJf", cls.out / archive], timeout=120, check=True)
        shutil.rmtree(cls.out / "braid-bundle")  # nothing may be found where it was made
        folders = gpu_libraries()
        cls.mount = os.path.commonpath(folders)
        (cls.root / cls.mount[1:]).mkdir(parents=True, exist_ok=True)
        cls.path = ":".join(folders)

    def bare(self, line, expect=0):
        command = command_in(NAMESPACE, self.root, "work", f"env LD_LIBRARY_PATH={self.path} {line}")
        done = subprocess.run(command, env=dict(os.environ, BARE_MOUNT=self.mount), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, expect, done.stdout[-4000:])
        return done.stdout

    def test_it_is_small(self):
        self.assertLess((self.out / ARCHIVES[1]).stat().st_size, MAX_BYTES)

    def test_all_programs_link_and_all_cases_skip(self):
        for line in ("test_ops --gtest_filter=rope.*", "test_optim --gtest_filter=muon.equals_the_formula",
                     "braid-mpirun -n 2 /opt/braid-bundle/bin/test_distributed --gtest_filter=axes.*"):
            with self.subTest(line=line):
                text = self.bare("env BRAID_TEST_DEVICE=cuda " + line)
                self.assertIn("BRAID_TEST_DEVICE=cuda, but there is no GPU", text)
                self.assertNotIn("[       OK ]", text)
        self.assertGreater(self.bare("test_ops --gtest_list_tests").count("\n"), 100)
        self.assertIn("GPU", self.bare("bench_gpu_kernels", expect=2))

    def test_the_cpu_computes_there(self):
        self.assertIn("[       OK ] rope.gradients", self.bare("test_ops --gtest_filter=rope.gradients"))

    def test_the_check_and_what_it_runs_are_there(self):
        folder = self.root / "opt/braid-bundle"
        for name in ("launch/gpu_check.sh", "launch/gpu_check.py", "launch/gpu_check_train.py", "tests/e2e/gpu_test.py",
                     "tests/faults/gpu_stuck_rank_test.py", "tests/support/training_case.py", "docs/config.md"):
            self.assertTrue((folder / name).is_file(), name)


if __name__ == "__main__":
    NAMESPACE = find_namespace()
    if NAMESPACE is None:
        print("skipped: neither root nor a user of this machine may mount and change the root folder in a namespace")
        sys.exit(77)
    unittest.main()
