#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""`braid generate`: where a prompt comes from, where a text ends, and ids that the tokenizer lacks."""

import re
import subprocess
import unittest

from training_case import BRAID, TrainingCase


class Generate(TrainingCase):
    def setUp(self):
        super().setUp()
        # A vocabulary beyond the 256 ids of the tokenizer, barely trained: every id is about as likely.
        self.train("wide", "model.vocab_size=300", "train.steps=5", "checkpoint.every=0", "eval.every=0")

    def generate(self, *arguments, expect=0):
        return self.braid("generate", "runs/wide", *arguments, expect=expect)

    def test_ids_beyond_the_tokenizer_are_never_drawn(self):
        # 400 draws from 300 ids miss the upper 44 by chance once in 10^27.
        out, errors = self.generate("--prompt", "ab", "--tokens", "400", "--temperature", "1000")
        self.assertTrue(out.startswith("ab"))
        self.assertEqual(errors.count("model.vocab_size is 300 and the tokenizer 'bytes' has 256 ids"), 1, errors)
        self.train("fitting", "train.steps=5", "checkpoint.every=0", "eval.every=0")
        _, errors = self.braid("generate", "runs/fitting", "--prompt", "ab", "--tokens", "5")
        self.assertNotIn("vocab_size", errors)
        self.assertRegex(errors, r"\A5 tokens in \d+\.\d\d s: \d+\.\d tokens/s\n\Z")

    def test_a_prompt_comes_from_an_argument_a_file_or_standard_input(self):
        given, _ = self.generate("--prompt", "alpha\nb", "--tokens", "9")
        (self.folder / "prompt.txt").write_bytes(b"alpha\nb")
        self.assertEqual(self.generate("--prompt-file", "prompt.txt", "--tokens", "9")[0], given)
        done = subprocess.run([BRAID, "generate", "runs/wide", "--prompt", "-", "--tokens", "9"], cwd=self.folder,
                              input=b"alpha\nb", timeout=60, capture_output=True, check=True)
        self.assertEqual(done.stdout.decode(errors="surrogateescape"), given)

    def test_samples_differ_and_the_first_is_that_of_one(self):
        one, _ = self.generate("--prompt", "a", "--tokens", "12", "--seed", "3")
        three, errors = self.generate("--prompt", "a", "--tokens", "12", "--seed", "3", "--samples", "3")
        texts = re.split(r"^--- sample \d of 3\n", three, flags=re.MULTILINE)
        self.assertEqual((texts[0], texts[1], len(set(texts)), len(texts)), ("", one, 4, 4))
        self.assertIn("36 tokens in ", errors)
        again, _ = self.generate("--prompt", "a", "--tokens", "12", "--seed", "3", "--samples", "3")
        self.assertEqual(three, again)

    def test_a_stop_token_ends_a_text_and_is_not_printed(self):
        command = [BRAID, "generate", "runs/wide", "--prompt", "a", "--tokens", "60", "--stop-token"]
        plain = subprocess.run(command[:-1], cwd=self.folder, timeout=60, capture_output=True, check=True).stdout
        stop = plain[10]
        end = plain.index(stop, 1)
        done = subprocess.run([*command, str(stop)], cwd=self.folder, timeout=60, capture_output=True, check=True)
        self.assertEqual(done.stdout, plain[:end] + b"\n")
        self.assertIn(f"{end} tokens in ", done.stderr.decode())

    def test_refusals(self):
        (self.folder / "empty").write_bytes(b"")
        for code, arguments, message in [
                (2, [], "--prompt TEXT or --prompt-file FILE is required"),
                (2, ["--prompt", ""], "expected at least one token"),
                (2, ["--prompt-file", "empty"], "expected at least one token"),
                (3, ["--prompt-file", "none.txt"], "none.txt: cannot read the prompt: No such file"),
                (3, ["--prompt-file", "."], "expected a file, found a folder"),
                (2, ["--prompt", "a", "--prompt-file", "empty"], "excludes"),
                (2, ["--prompt", "a", "--stop-token", "256"], "from 0 to 255, found 256"),
                (2, ["--prompt", "a", "--samples", "0"], "--samples"),
                (2, ["--prompt", "a", "--tokens", "0x10"], "expected a whole number, found 0x10")]:
            with self.subTest(arguments=arguments):
                out, errors = self.generate(*arguments, expect=code)
                self.assertEqual(out, "")
                self.assertIn(message, errors)


if __name__ == "__main__":
    unittest.main()
