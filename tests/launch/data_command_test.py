#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""braid data build, info, verify and show: what they print, and their exit codes."""

import gzip
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BRAID = os.environ["BRAID"]


class DataCommand(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="braid-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def braid(self, *arguments, expect=0, stdin=b""):
        done = subprocess.run([BRAID, "data", *arguments], input=stdin, cwd=self.folder, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, expect, done.stderr.decode())
        if expect:
            self.assertEqual(done.stdout, b"")
            self.assertEqual(len(done.stderr.decode().strip().splitlines()), 1, done.stderr.decode())
        return (done.stderr if expect else done.stdout).decode()

    def test_builds_from_standard_input_and_compressed_lines(self):
        lines = "".join(json.dumps({"text": f"entry {i}\n"}) + "\n" for i in range(200))
        (self.folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        self.braid("build", "a.jsonl.gz", "-o", "a.h5")
        self.braid("build", "-", "-o", "b.h5", "--format", "jsonl", stdin=lines.encode())
        a, b = (json.loads(self.braid("info", name, "--json")) for name in ("a.h5", "b.h5"))
        self.assertEqual(a["num_documents"], 200)
        self.assertEqual(a["fingerprint"], b["fingerprint"])
        self.assertIn("good, ", self.braid("verify", "a.h5"))
        self.assertEqual(self.braid("show", "a.h5", "--document", "7", "--count", "1"),
                         "--- document 7, 8 tokens\nentry 7\n\n")

    def test_splits_and_measures(self):
        text = "".join(f"word{i}\n  meaning of number {i * 7 % 13}\n" for i in range(500))
        (self.folder / "a.txt").write_text(text, encoding="utf-8")
        self.braid("build", "a.txt", "-o", "train.h5", "--document-start", r"\S", "--validation", "valid.h5",
                   "--validation-fraction", "0.1")
        train, valid = (json.loads(self.braid("info", f"{name}.h5", "--json")) for name in ("train", "valid"))
        self.assertEqual(train["num_documents"] + valid["num_documents"], 500)
        self.assertEqual(train["num_bytes"] + valid["num_bytes"], len(text))
        info = json.loads(self.braid("info", "train.h5", "--entropy", "--validation", "valid.h5", "--json"))
        entropy = info["entropy"]
        self.assertEqual(entropy["num_predicted"], valid["num_tokens"] - valid["num_documents"])
        self.assertGreater(entropy["unigram"], entropy["bigram"])
        self.assertGreater(entropy["bigram"], entropy["trigram"])
        self.assertIn("\nentropy.trigram: ", self.braid("info", "train.h5", "--entropy"))

    def test_exit_codes(self):
        (self.folder / "a.txt").write_text("text", encoding="utf-8")
        self.braid("build", "a.txt", "-o", "a.h5")
        self.assertIn("a.h5: exists already", self.braid("build", "a.txt", "-o", "a.h5", expect=7))
        self.braid("build", "a.txt", "-o", "a.h5", "--force")
        self.assertIn("missing.txt", self.braid("build", "missing.txt", "-o", "b.h5", expect=3))
        self.assertIn("words", self.braid("build", "a.txt", "-o", "b.h5", "--tokenizer", "words", expect=2))
        self.assertIn("nowhere", self.braid("build", "a.txt", "-o", "nowhere/b.h5", expect=7))
        self.assertIn("a.txt: expected an HDF5 file", self.braid("info", "a.txt", expect=3))

    def test_changed_files_do_not_verify(self):
        (self.folder / "a.txt").write_text("unmistakable", encoding="utf-8")
        self.braid("build", "a.txt", "-o", "a.h5")
        content = (self.folder / "a.h5").read_bytes()
        self.assertEqual(content.count(b"unmistakable"), 1)
        (self.folder / "changed.h5").write_bytes(content.replace(b"unmistakable", b"unmistakeble"))
        self.assertIn("changed.h5: fingerprint", self.braid("verify", "changed.h5", expect=3))
        (self.folder / "cut.h5").write_bytes(content[:-100])
        self.assertIn("cut.h5", self.braid("info", "cut.h5", expect=3))

    def test_usage(self):
        for arguments in ([], ["build"], ["build", "a.txt"], ["info"], ["show", "a.h5", "--window", "1"],
                          ["info", "a.h5", "--validation", "b.h5"],
                          ["build", "a.txt", "-o", "b.h5", "--validation", "c.h5"],
                          ["build", "a.txt", "-o", "b.h5", "--format", "xml"], ["unknown"]):
            done = subprocess.run([BRAID, "data", *arguments], cwd=self.folder, timeout=60, check=False,
                                  capture_output=True)
            self.assertEqual(done.returncode, 2, arguments)


if __name__ == "__main__":
    unittest.main()
