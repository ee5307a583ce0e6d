#!/usr/bin/env python3
# ctest: labels=mpi,fault timeout=300 processors=1
"""Signals to a training job, with the launcher and without, and what surrounds a job: threads and memory."""

import os
import pathlib
import resource
import signal
import subprocess
import time
import unittest

from training_case import BRAID, BRAID_MPIRUN, TrainingCase

ALONE, TWO_RANKS = (BRAID,), (BRAID_MPIRUN, "-n", "2", BRAID)
LIMIT_SECONDS = 60  # ends a hang only
GRACE_SECONDS = 10  # that a stop may take where no step is under way


class Signals(TrainingCase):
    def start(self, launch, name, *arguments, **keywords):
        process = subprocess.Popen([*launch, "train", "base.yaml", f"name={name}", "train.steps=1000000",
                                    "checkpoint.every=0", *arguments], cwd=self.folder, env=self.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True, **keywords)
        self.addCleanup(process.kill)
        return process

    def wait_until(self, condition, process):
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            self.assertIsNone(process.poll(), "the run ended by itself")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def steps(self, name):
        path = self.folder / "runs" / name / "metrics.jsonl"
        return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0

    def has_checkpoint(self, name):
        folder = self.folder / "runs" / name / "checkpoints"
        return folder.exists() and any(entry.startswith("step-") for entry in os.listdir(folder))

    def test_a_hangup_saves_and_stops(self):
        for launch in (ALONE, TWO_RANKS):
            with self.subTest(launch=launch[0]):
                name = f"hangup{len(launch)}"
                process = self.start(launch, name, "eval.every=0")
                self.wait_until(lambda name=name: self.steps(name) > 2, process)
                process.send_signal(signal.SIGHUP)
                process.communicate(timeout=LIMIT_SECONDS)
                self.assertEqual(process.returncode, 75)
                self.assertTrue(self.has_checkpoint(name))

    def test_reads_that_hang_do_not_keep_a_run_from_stopping(self):
        library = pathlib.Path(os.environ["BRAID_BINARY_DIR"], "tests", "libhanging_reads.so")
        for launch, file in ((ALONE, "train.h5"), (TWO_RANKS, "train.h5"), (ALONE, "valid.h5")):
            with self.subTest(launch=launch[0], file=file):
                name = f"hanging{len(launch)}{file}"
                since = self.folder / f"{name}.since"
                self.environment.update(LD_PRELOAD=str(library), HANGING_FILE=file, HANGING_SINCE=str(since))
                forwarded = ("-x", "LD_PRELOAD") if launch is TWO_RANKS else ()
                process = self.start((*launch[:-1], *forwarded, launch[-1]), name,
                                     "eval.every=0" if file == "train.h5" else "eval.every=1")
                self.wait_until(lambda name=name: self.steps(name) > 2, process)
                since.touch()
                time.sleep(1)  # for the batches that were read ahead
                process.send_signal(signal.SIGTERM)
                started = time.monotonic()
                process.communicate(timeout=LIMIT_SECONDS)
                self.assertLess(time.monotonic() - started, GRACE_SECONDS)
                self.assertEqual(process.returncode, 75)
                self.assertTrue(self.has_checkpoint(name))
                for variable in ("LD_PRELOAD", "HANGING_FILE", "HANGING_SINCE"):
                    del self.environment[variable]
                # The next start takes up the batch that hung.
                last = self.steps(name) + 2
                self.train(name, "train.steps=1000000", "checkpoint.every=0", "eval.every=0", f"train.stop_at={last}")
                self.assertEqual([line["step"] for line in self.metrics(name)], list(range(1, last + 1)))

    def test_nohup_outlives_a_hangup(self):
        for launch in (ALONE, TWO_RANKS):
            with self.subTest(launch=launch[0]):
                name = f"nohup{len(launch)}"
                process = self.start(launch, name, "eval.every=0",
                                     preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
                self.wait_until(lambda name=name: self.steps(name) > 2, process)
                process.send_signal(signal.SIGHUP)
                before = self.steps(name)
                self.wait_until(lambda name=name, before=before: self.steps(name) > before + 20, process)
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=LIMIT_SECONDS)
                self.assertEqual(process.returncode, 75)

    def test_an_evaluation_is_given_up_for_a_signal(self):
        (self.folder / "long.txt").write_text("reed and heron " * 400_000, encoding="utf-8")
        subprocess.run([BRAID, "data", "build", "long.txt", "-o", "long.h5"], cwd=self.folder, capture_output=True,
                       timeout=LIMIT_SECONDS, check=True)
        long = ("data.validation.held.path=long.h5", "eval.tokens=0", "train.precision=f64", "eval.at_start=true")
        for launch in (ALONE, TWO_RANKS):
            with self.subTest(launch=launch[0]):
                name = f"evaluation{len(launch)}"
                process = self.start(launch, name, *long)
                log = self.folder / "runs" / name / "log.txt"
                self.wait_until(lambda log=log: log.exists() and "parameters" in log.read_text(encoding="utf-8"),
                                process)
                time.sleep(0.5)
                start = time.monotonic()
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=LIMIT_SECONDS)
                self.assertEqual(process.returncode, 75, errors)
                self.assertLess(time.monotonic() - start, GRACE_SECONDS)
                self.assertTrue(self.has_checkpoint(name))

    def test_a_signal_at_any_moment_of_the_start_stops_the_job(self):
        for number, delay in enumerate((0.05, 0.1, 0.2, 0.3)):
            process = self.start(ALONE, f"start{number}")
            self.wait_until(lambda process=process: catches(process.pid, signal.SIGUSR1), process)
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=LIMIT_SECONDS)
            self.assertEqual((process.returncode, errors), (75, ""))

    def test_a_suspended_job_stands_still_and_goes_on(self):
        # Longer than the watchdog allows, which counts none of it.
        process = self.start(TWO_RANKS, "suspended", "eval.every=0", "parallel.watchdog_seconds=2")
        self.wait_until(lambda: self.steps("suspended") > 2, process)
        for _ in range(2):
            process.send_signal(signal.SIGTSTP)
            ranks = self.rank_processes("suspended")
            self.wait_until(lambda ranks=ranks: all(state(pid) == "T" for pid in ranks), process)
            before = self.steps("suspended")
            time.sleep(3)
            self.assertEqual(self.steps("suspended"), before)
            process.send_signal(signal.SIGCONT)
            self.wait_until(lambda before=before: self.steps("suspended") > before + 5, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT_SECONDS)
        self.assertEqual(process.returncode, 75, errors)


class Surroundings(TrainingCase):
    def refused(self, launch, **changes):
        done = subprocess.run([*launch, "train", "base.yaml", "train.steps=6"], cwd=self.folder,
                              env=dict(self.environment, **changes), capture_output=True, text=True,
                              timeout=LIMIT_SECONDS, check=False)
        # libgomp speaks for itself, when it is loaded.
        lines = [line for line in done.stderr.splitlines() if line and not line.startswith("libgomp: Invalid value")]
        return done.returncode, lines

    def test_an_absurd_number_of_threads_is_refused(self):
        for value in ("1000000", "abc", "-3", "0", "2,x", "1.5", "99999999999999999999", "*"):
            message = f"OMP_NUM_THREADS: expected a number of threads from 1 to 1024, found '{value}'"
            self.assertEqual(self.refused(ALONE, OMP_NUM_THREADS=value), (2, ["braid: " + message]))
            self.assertEqual(self.refused(TWO_RANKS, OMP_NUM_THREADS=value), (2, ["braid-mpirun: " + message]))
        for value in ("1", " 2 ", "2,1", ""):
            self.assertEqual(self.refused(ALONE, OMP_NUM_THREADS=value), (0, []))

    def test_memory_that_is_used_up_is_told_once(self):
        limit = 900_000_000
        done = subprocess.run([*TWO_RANKS, "train", "base.yaml", "model.hidden_size=2048",
                               "model.sublayers.moe.expert_size=4096"], cwd=self.folder, env=self.environment,
                              capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertRegex(done.stderr, r"\Abraid: [^\n]*memory[^\n]*\n\Z")

    def test_threads_that_wait_do_not_spin_for_long(self):
        process = subprocess.Popen([BRAID, "train", "base.yaml", "train.steps=1000000", "checkpoint.every=0"],
                                   cwd=self.folder, env=without_thread_policy(), stdout=subprocess.PIPE)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        process.stdout.readline()
        variables = pathlib.Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        self.assertIn(b"GOMP_SPINCOUNT=1000", variables)
        self.assertEqual(pathlib.Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8"), "braid\n")
        process.kill()
        process.wait(timeout=LIMIT_SECONDS)


def without_thread_policy():
    return {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}


def state(pid):
    return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]


def catches(pid, number):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


if __name__ == "__main__":
    unittest.main()
