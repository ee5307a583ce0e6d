#!/usr/bin/env python3
# ctest: labels=mpi,fault timeout=120 processors=2
"""A BLAS library that multiplies wrongly or crashes is found at the start: exit 2, and the message says what to do."""

import os
import subprocess
import unittest

from training_case import BRAID, BRAID_MPIRUN, TrainingCase

# LD_PRELOAD is split at spaces, so the folder, which may have some in its path, stands in LD_LIBRARY_PATH.
LIBRARY = "libwrong_blas.so"
FOLDERS = os.pathsep.join(filter(None, (os.path.join(os.environ["BRAID_BINARY_DIR"], "tests"),
                                        os.environ.get("LD_LIBRARY_PATH"))))


class WrongBlas(TrainingCase):
    def run_with(self, kind, *command):
        """The error output of a command whose BLAS library is of this kind, which must end it with 2."""
        wrong = ["env", f"LD_PRELOAD={LIBRARY}", f"LD_LIBRARY_PATH={FOLDERS}", f"WRONG_BLAS={kind}"]
        launcher = [BRAID_MPIRUN, "-n", "2"] if command[0] == BRAID_MPIRUN else []
        result = subprocess.run([*launcher, *wrong, BRAID, *command[len(launcher) > 0:]], cwd=self.folder,
                                capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(result.returncode, 2, result)
        for words in ("OpenBLAS 0.", "with its kernels for", "environment variable OPENBLAS_CORETYPE"):
            self.assertIn(words, result.stderr)
        return result.stderr

    def test_wrong_products(self):
        for command in (("doctor",), ("train", "base.yaml"), (BRAID_MPIRUN, "train", "base.yaml")):
            with self.subTest(command=command):
                errors = self.run_with("wrong", *command)
                self.assertIn("multiplies wrongly on this processor: f32 product of [1, 1] and [1, 1], element (0, 0): "
                              "expected ", errors)
                self.assertEqual(errors.count("\n"), 1, errors)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "runs")))

    def test_crash(self):
        errors = self.run_with("crash", "train", "base.yaml")
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertIn("crashed in the first products on this processor", errors)


if __name__ == "__main__":
    unittest.main()
