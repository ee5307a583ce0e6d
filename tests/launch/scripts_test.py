#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""The scripts in launch/: what they refuse, what they count, what they make of a dictionary and of a run's losses."""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])
BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def run(*command, **keywords):
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False, **keywords)


class InFolder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)


class InstallDeps(InFolder):
    def fake(self, name, text):
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def install(self):
        """Runs the script as a user who is not root, with fake package tools that leave a mark when they are called."""
        self.folder.chmod(0o777)
        self.fake("sudo", "exit 1")
        self.fake("apt-get", "touch called")
        script = self.folder / "install_deps.sh"
        script.write_text((ROOT / "launch/install_deps.sh").read_text())
        script.chmod(0o644)  # whatever the umask
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        # Inside the folder and by names without it: what lies above may be closed to that user.
        done = run(*nobody, "bash", script.name, cwd=self.folder, env={"PATH": ".:/usr/bin:/bin", "LC_ALL": "C"})
        self.assertFalse((self.folder / "called").exists(), "a user who is not root must not get to apt-get")
        return done

    def test_without_root_it_prints_what_to_install(self):
        self.fake("dpkg-query", "echo installed cmake:amd64; echo config-files ninja-build; echo installed g++-12")
        done = self.install()
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        command = done.stderr.splitlines()[-1].split()
        self.assertEqual(command[:2], ["apt-get", "update"])
        for package in ("g++", "ninja-build", "libopenmpi-dev"):
            self.assertIn(package, command)
        self.assertNotIn("cmake", command)

    def test_silent_when_nothing_is_missing(self):
        listed = (ROOT / "launch/install_deps.sh").read_text().split("packages=(")[1].split("\n)")[0]
        packages = [word for line in listed.splitlines() if not line.strip().startswith("#") for word in line.split()]
        self.fake("dpkg-query", f"printf 'installed %s\\n' {' '.join(packages)}")
        done = self.install()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class TestSh(InFolder):
    def count(self, cases, failed_steps=0):
        results = self.folder / "cpu.xml"
        results.write_text(f"<testsuite>{cases}</testsuite>")
        done = run(sys.executable, ROOT / "tests/support/count_results.py", failed_steps, results)
        return done.returncode, done.stdout.splitlines()

    def test_counts(self):
        passed = '<testcase name="a" status="run"/>'
        failed = '<testcase name="b" status="fail"><failure message=""/></testcase>'
        skipped = '<testcase name="c" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/></testcase>'
        missing = '<testcase name="d" status="notrun"><skipped message="Unable to find executable"/></testcase>'
        self.assertEqual(self.count(passed * 2), (0, ["2 passed, 0 failed"]))
        self.assertEqual(self.count(passed + skipped), (0, ["1 passed, 0 failed, 1 skipped"]))
        self.assertEqual(self.count(passed + failed), (1, ["failed: cpu: b", "1 passed, 1 failed"]))
        self.assertEqual(self.count(passed + missing), (1, ["failed: cpu: d", "1 passed, 1 failed"]))
        subject = ('<testcase name="e" status="{}">{}<system-out>Note: a filter\n[==========] Running 12 tests from 1 '
                   'test suite.\n</system-out></testcase>')
        self.assertEqual(self.count(passed + subject.format("run", "")), (0, ["13 passed, 0 failed"]))
        self.assertEqual(self.count(passed + subject.format("fail", '<failure message=""/>')),
                         (1, ["failed: cpu: e", "1 passed, 1 failed"]))
        self.assertEqual(self.count(passed, failed_steps=1), (1, ["1 passed, 1 failed"]))
        self.assertEqual(self.count(""), (1, ["0 passed, 0 failed"]))

    def test_wrong_usage(self):
        done = run(ROOT / "launch/test.sh", "--quick")
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertIn("launch/test.sh --fast", done.stderr)


class Slurm(InFolder):
    def job(self, code, script="slurm.sh", **changes):
        """Whether a job whose launcher ends with `code` queues itself again, and its exit code."""
        (self.folder / "launch").mkdir(exist_ok=True)
        for name, text in (("launch/braid-mpirun", f"exit {code}"), ("scontrol", "touch queued")):
            path = self.folder / name
            path.write_text(f"#!/bin/bash\n{text}\n")
            path.chmod(0o755)
        done = run("bash", ROOT / "launch/examples" / script, "run.yaml", cwd=self.folder, env={
            "PATH": f"{self.folder}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "4",
            "SLURM_CPUS_PER_TASK": "2", "SLURM_ARRAY_JOB_ID": "8", "SLURM_ARRAY_TASK_ID": "1",
            **changes})
        self.assertEqual(done.stderr, "")
        queued = self.folder / "queued"
        again = queued.exists()
        queued.unlink(missing_ok=True)
        return again, done.returncode

    def test_a_stopped_job_and_a_lost_host_queue_again(self):
        self.assertEqual(self.job(75), (True, 0))
        self.assertEqual(self.job(6), (True, 0))
        for code in (0, 1, 5, 130):
            self.assertEqual(self.job(code), (False, code))

    def test_an_array_of_a_sweep_goes_on_after_a_stop(self):
        self.assertEqual(self.job(75, "sweep.sbatch"), (True, 0))
        for code in (0, 2, 5):
            self.assertEqual(self.job(code, "sweep.sbatch"), (False, code))

    def test_not_for_ever(self):
        self.assertEqual(self.job(75, SLURM_RESTART_COUNT="200"), (False, 75))
        self.assertEqual([self.job(6)[0] for _ in range(4)], [True, True, True, False])
        self.assertEqual([self.job(code)[0] for code in (75, 6)], [True, True])


class Dictionary(InFolder):
    def make(self, text, rows):
        (self.folder / "words.dict.dz").write_bytes(gzip.compress(text.encode()))
        (self.folder / "words.index").write_text("".join(
            f"{word}\t{BASE64[at // 64]}{BASE64[at % 64]}\t{BASE64[size]}\n" for word, at, size in rows))
        return run(sys.executable, ROOT / "launch/gcide_documents.py", self.folder / "words")

    def test_entries_become_documents_once_and_in_order(self):
        text = "." * 70 + "cat\n  näh\ndog\n  woof\n"
        done = self.make(text, [("dog", 81, 11), ("cat", 70, 11), ("kitten", 70, 11), ("00-database-info", 0, 40)])
        self.assertEqual([json.loads(line)["text"] for line in done.stdout.splitlines()],
                         ["cat\n  näh\n", "dog\n  woof\n"])

    def test_an_entry_beyond_the_text_is_refused(self):
        done = self.make("short", [("cat", 3, 5)])
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("an entry ends at byte 8, the text has 5", done.stderr)


class Report(InFolder):
    def report(self, final, validation=True):
        records = [{"step": step, "tokens": step * 1000, "loss": 3.0 - step / 10} for step in range(1, 6)]
        if validation:
            records[0]["eval/words/loss"] = 2.9
            records[-1]["eval/words/loss"] = final
        (self.folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        (self.folder / "info.json").write_text(json.dumps({"entropy": {"bigram": 2.4, "trigram": 1.8}}))
        return run(sys.executable, ROOT / "launch/quickstart_report.py", self.folder / "metrics.jsonl",
                   self.folder / "info.json", "--margin", "0.1", "--png", self.folder / "loss.png")

    def test_a_loss_below_the_margin_passes_and_is_drawn(self):
        done = self.report(1.69)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "loss.png").read_bytes()[:4], b"\x89PNG")

    def test_a_loss_within_the_margin_fails(self):
        self.assertEqual(self.report(1.71).returncode, 1)

    def test_a_loss_that_is_not_a_number_fails(self):
        self.assertEqual(self.report(float("nan")).returncode, 1)

    def test_no_validation_fails(self):
        done = self.report(1.0, validation=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("found 5 and 0", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
