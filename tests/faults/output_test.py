#!/usr/bin/env python3
# ctest: labels=mpi,fault timeout=300 processors=1
"""Standard streams that are closed, full or lose their reader, and limits on the size of files."""

import os
import resource
import signal
import subprocess
import unittest

from training_case import BRAID, BRAID_MPIRUN, TrainingCase

ALONE, TWO_RANKS = (BRAID,), (BRAID_MPIRUN, "-n", "2", BRAID)
LIMIT_SECONDS = 120  # ends a hang only


class Output(TrainingCase):
    def shell(self, redirections, *command):
        """(exit code, stdout, stderr) of a command under a shell's redirections."""
        done = subprocess.run(["bash", "-c", f'exec "$@" {redirections}', "bash", *command], cwd=self.folder,
                              env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=LIMIT_SECONDS, check=False)
        return done.returncode, done.stdout, done.stderr

    def train(self, launch, redirections, name):
        arguments = ("train", "base.yaml", f"name={name}", "train.steps=6", "checkpoint.every=3")
        return self.shell(redirections, *launch, *arguments)

    def check_trained(self, name):
        self.assertEqual([line["step"] for line in self.metrics(name) if "loss" in line], [1, 2, 3, 4, 5, 6])
        folder = self.folder / "runs" / name
        self.assertEqual(sorted(os.listdir(folder / "checkpoints")), ["step-00000003", "step-00000006"])
        self.assertNotIn("step", (folder / ".lock").read_text(encoding="utf-8"))
        self.assertIn("parameters", (folder / "log.txt").read_text(encoding="utf-8"))

    def test_training_needs_no_stream(self):
        ways = (">&-", "2>&-", "<&-", ">&- 2>&- <&-", "> /dev/full", "2> /dev/full", "> /dev/full 2> /dev/full")
        for launch in (ALONE, TWO_RANKS):
            for number, redirections in enumerate(ways):
                with self.subTest(launch=launch[0], redirections=redirections):
                    name = f"run{len(launch)}-{number}"
                    self.assertEqual(self.train(launch, redirections, name)[0], 0)
                    self.check_trained(name)

    def test_a_full_stream_that_is_flushed_at_each_line_changes_no_code(self):
        # As a terminal's is; its reader may be gone.
        self.assertEqual(self.train(("stdbuf", "-oL", BRAID), "> /dev/full", "lines"), (0, "", ""))
        self.check_trained("lines")
        code, _, errors = self.shell("> /dev/full", "stdbuf", "-oL", BRAID, "config", "keys")
        self.assertEqual(code, 7)
        self.assertRegex(errors, r"\Abraid: standard output: cannot write[^\n]*\n\Z")

    def test_training_outlives_the_reader_of_its_output(self):
        for launch in (ALONE, TWO_RANKS):
            with self.subTest(launch=launch[0]):
                name = f"reader{len(launch)}"
                process = subprocess.Popen([*launch, "train", "base.yaml", f"name={name}", "train.steps=200",
                                            "checkpoint.every=0", "eval.every=0"], cwd=self.folder,
                                           env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.addCleanup(process.kill)
                process.stdout.readline()
                process.stdout.close()
                errors = process.stderr.read()
                self.assertEqual((process.wait(timeout=LIMIT_SECONDS), errors), (0, b""))
                process.stderr.close()
                self.assertEqual(self.metrics(name)[-1]["step"], 200)

    def test_a_refusal_keeps_its_code_where_nobody_can_read_it(self):
        for launch in (ALONE, TWO_RANKS):
            for redirections in ("2>&-", "2> /dev/full", "> /dev/full 2>&1", ">&- 2>&-"):
                with self.subTest(launch=launch[0], redirections=redirections):
                    self.assertEqual(self.shell(redirections, *launch, "train", "no.yaml")[0], 2)
        self.assertEqual(self.shell("2> /dev/full", BRAID, "frobnicate")[0], 2)

    def test_a_result_that_cannot_be_printed_is_a_write_error(self):
        commands = (("config", "show", "base.yaml"), ("config", "keys"), ("config", "check", "base.yaml"),
                    ("data", "info", "train.h5"), ("data", "show", "train.h5"), ("--help",), ("--version",))
        for command in commands:
            for redirections, reason in (("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
                with self.subTest(command=command, redirections=redirections):
                    code, _, errors = self.shell(redirections, BRAID, *command)
                    self.assertEqual(code, 7, errors)
                    # Whoever's buffer was written early no longer knows the reason.
                    self.assertRegex(errors, rf"\Abraid: standard output: cannot write(: {reason})?\n\Z")

    def test_a_result_whose_reader_has_gone_ends_without_a_word(self):
        for command in (("config", "keys"), ("data", "show", "train.h5", "--count", "100000")):
            script = '(trap "" PIPE; sleep 0.5; "$@"; echo $? >&2) | true'
            done = subprocess.run(["bash", "-c", script, "bash", BRAID, *command], cwd=self.folder,
                                  capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
            self.assertEqual(done.stderr, "7\n")

    def test_a_command_whose_result_is_a_file_needs_no_output(self):
        (self.folder / "text.txt").write_text("one two three " * 40, encoding="utf-8")
        for redirections in (">&-", "> /dev/full"):
            code, _, errors = self.shell(redirections, BRAID, "data", "build", "text.txt", "-o", "text.h5", "--force")
            self.assertEqual((code, errors), (0, ""))
            self.assertEqual(self.shell("", BRAID, "data", "verify", "text.h5")[0], 0)


class FileSize(TrainingCase):
    def limited(self, num_bytes, *arguments):
        def limit():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and children would inherit that

        done = subprocess.run([BRAID, *arguments], cwd=self.folder, env=self.environment, capture_output=True,
                              text=True, timeout=LIMIT_SECONDS, check=False, preexec_fn=limit)
        return done.returncode, done.stderr

    def test_training_ends_as_on_a_full_disk(self):
        code, errors = self.limited(200_000, "train", "base.yaml", "name=big", "train.steps=6", "checkpoint.every=2",
                                    "model.sublayers.moe.expert_size=512")
        self.assertEqual(code, 7, errors)
        self.assertRegex(errors, r"\Abraid: runs/big/checkpoints/\S+: cannot write: File too large\n\Z")
        log = (self.folder / "runs/big/log.txt").read_text(encoding="utf-8")
        self.assertIn("File too large", log)

    def test_a_token_file_that_grows_too_large_is_a_write_error(self):
        (self.folder / "text.txt").write_text("one two three " * 4000, encoding="utf-8")
        code, errors = self.limited(10_000, "data", "build", "text.txt", "-o", "text.h5")
        self.assertEqual(code, 7, errors)
        self.assertRegex(errors, r"\Abraid: text\.h5\S*: cannot write: File too large\n\Z")
        self.assertFalse((self.folder / "text.h5").exists())


if __name__ == "__main__":
    unittest.main()
