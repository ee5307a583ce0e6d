#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""What authors of sublayers use: launch/new_sublayer.sh makes one that compiles, and sublayer_probe runs one alone."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

import numpy

SOURCE = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["BRAID_BINARY_DIR"])
sys.path.insert(0, str(SOURCE / "tests" / "support"))
import compare_torch  # pylint: disable=wrong-import-position


class NewSublayer(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="braid test ")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def start(self, name, expect=0):
        done = subprocess.run([self.folder / "launch" / "new_sublayer.sh", name], capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.returncode, expect, done.stderr)
        return done.stdout + done.stderr

    def compile(self, path):
        """Checks the file as the build compiles those of layers, with the folder's headers before those of the tree."""
        commands = json.loads((BUILD / "compile_commands.json").read_text(encoding="utf-8"))
        like = next(c for c in commands if "/braid_layers.dir/" in c["command"])
        words = shlex.split(like["command"])
        start = next(i for i, word in enumerate(words) if word.endswith(("c++", "g++", "clang++")))
        kept = [word for word in words[start:] if word.startswith(("-I", "-D", "-std", "-f", "-m", "-W"))]
        system = [words[i + 1] for i, word in enumerate(words) if word == "-isystem"]
        command = [words[start], f"-I{self.folder}", *kept, *(x for s in system for x in ("-isystem", s)),
                   "-fsyntax-only", str(self.folder / path)]
        done = subprocess.run(command, cwd=like["directory"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-4000:])

    def test_the_template_compiles_and_is_registered(self):
        for part in ("launch/new_sublayer.sh", "launch/templates", "layers"):
            target = self.folder / part
            target.parent.mkdir(exist_ok=True)
            (shutil.copytree if (SOURCE / part).is_dir() else shutil.copy)(SOURCE / part, target)
        told = self.start("my_mixer2")
        self.assertIn("layers/mixers/my_mixer2.cpp", told)
        registry = (self.folder / "layers/model/registry.cpp").read_text(encoding="utf-8")
        self.assertEqual(registry.count("my_mixer2_type(),"), 1)
        self.assertIn("class MyMixer2Layer", (self.folder / "layers/mixers/my_mixer2.h").read_text(encoding="utf-8"))
        self.compile("layers/mixers/my_mixer2.cpp")
        self.compile("layers/model/registry.cpp")
        self.assertIn("has a type my_mixer2 already", self.start("my_mixer2", expect=2))
        self.assertIn("expected a name of small letters", self.start("../evil", expect=2))
        self.assertIn("has a type attention already", self.start("attention", expect=2))

    def test_a_sublayer_alone_gives_what_the_formula_gives(self):
        config = "{hidden_size: 6, documents: [5, 1, 4], sublayers: {sub: {type: short_conv, kernel: 3}}}"
        out, documents = compare_torch.probe(BUILD, config, self.folder)
        self.assertEqual(documents, [5, 1, 4])
        w = {name.removeprefix("weights/"): x for name, x in out.items() if name.startswith("weights/")}
        first = 0
        for length in documents:
            h = out["h"][first:first + length]
            b, c, x = (h @ w[f"{part}.weight"].T for part in "bcx")
            padded = numpy.vstack([numpy.zeros((2, 6)), b * x])
            mixed = sum(w["conv.weight"][:, tap] * padded[tap:tap + length] for tap in range(3))
            y = (c * mixed) @ w["out.weight"].T
            self.assertLess(numpy.abs(out["y"][first:first + length] - y).max(), 1e-12)
            first += length
        self.assertEqual(out["gradients/conv.weight"].shape, (6, 3))
        with self.assertRaises(subprocess.CalledProcessError):
            compare_torch.probe(BUILD, config.replace("short_conv", "short_conb"), self.folder)


if __name__ == "__main__":
    unittest.main()
