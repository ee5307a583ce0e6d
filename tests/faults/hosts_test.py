#!/usr/bin/env python3
# ctest: labels=mpi,fault,slow timeout=600 processors=2
"""Two hosts over TCP: a launch, a host that dies, a link that is cut, starts that stall, going on with what is left.

A host is a set of namespaces (tests/support/network_hosts.py), which takes root: skipped without."""

import os
import re
import signal
import subprocess
import time
import unittest

from network_hosts import TwoHosts, skip_without_namespaces
from training_case import BRAID, BRAID_MPIRUN, TrainingCase

RANKS = os.path.join(os.environ["BRAID_BINARY_DIR"], "tests", "rank_behaviour")
LOST = (r"braid-mpirun: lost host node02: (mpirun has no connection to it any more|"
        r"its daemon, or the connection to it, ended with \d+)\n")
ENDED_HERE = r"braid-mpirun: mpirun has not ended the job within \d+ s; ended what runs on this host\n"
WAITED = ("braid: rank 0 on node01 waited 3.0 s for others of 2 ranks in MPI's start\n"
          "braid-mpirun: ranks that have not come to MPI's start: 1\n")
LIMIT = 100  # of a hang; nothing is judged by time


class HostsCase(TrainingCase):
    def setUp(self):
        super().setUp()
        self.network = TwoHosts()
        self.addCleanup(self.network.close)
        self.first, self.second = self.network.hosts
        self.environment["OMPI_MCA_plm_rsh_agent"] = str(self.network.agent)
        (self.folder / "hosts").write_text("node01 slots=1\nnode02 slots=1\n", encoding="utf-8")

    def start(self, *command, ranks=2, hosts=("--hostfile", "hosts"), **changes):
        process = subprocess.Popen(self.first.command(BRAID_MPIRUN, "-n", ranks, *hosts, *command,
                                                      folder=self.folder),
                                   cwd=self.folder, env={**self.environment, **changes}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return process

    def end(self, process):
        """(exit code, stdout, stderr)"""
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err

    def start_training(self, **keywords):
        process = self.start(BRAID, "train", "base.yaml", "name=run", "train.steps=1000000", "checkpoint.every=20",
                             "eval.every=0", "parallel.watchdog_seconds=4", **keywords)
        return process

    def steps(self):
        path = self.folder / "runs" / "run" / "metrics.jsonl"
        return path.read_text(encoding="utf-8").count("\n") if path.exists() else 0

    def wait_for(self, process, what):
        deadline = time.monotonic() + LIMIT
        while not what():
            if process.poll() is not None:
                self.fail(f"the job ended by itself: {self.end(process)}")
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def check_resume(self):
        """One rank on the host that is left goes on, from a checkpoint."""
        log = self.folder / "runs" / "run" / "log.txt"
        before, said = self.steps(), log.read_text(encoding="utf-8")
        process = self.start_training(ranks=1, hosts=("--host", "node01:1"))
        self.wait_for(process, lambda: self.steps() > before + 5)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(self.end(process)[0], 75)
        self.assertRegex(log.read_text(encoding="utf-8").removeprefix(said), r"step-0*[1-9]\d*")


class Running(HostsCase):
    def test_a_job_runs_on_both_hosts(self):
        code, out, err = self.end(self.start("hostname"))
        self.assertEqual((code, sorted(out.split()), err), (0, ["node01", "node02"], ""))
        process = self.start(BRAID, "train", "base.yaml", "name=whole", "train.steps=20")
        code, _, err = self.end(process)
        self.assertEqual((code, err), (0, ""))

    def test_exit_codes_come_back_without_words(self):
        for arguments, expected in ((("exit", "0", "5"), 5), (("exit", "75"), 75), (("desert", "1", "6"), 6),
                                    (("abort", "1", "7"), 7)):
            self.assertEqual(self.end(self.start(RANKS, *arguments)), (expected, "", ""))
        code, _, err = self.end(self.start(RANKS, "kill", "1", "9"))
        self.assertEqual((code, err), (137, "braid-mpirun: rank 1 on node02 was ended by signal 9 (SIGKILL)\n"))

    def test_ranks_on_both_hosts_save_and_stop(self):
        process = self.start(RANKS, "usr1", "1", "75")
        self.assertEqual(process.stdout.readline(), "waiting\n")
        process.send_signal(signal.SIGTERM)
        code, out, err = self.end(process)
        self.assertEqual((code, out), (75, "saved\n"))
        self.assertRegex(err, r"\Abraid-mpirun: signal 15 [^\n]*\n\Z")

    def test_a_second_ctrl_c_ends_a_job_whose_link_is_cut(self):
        process = self.start(RANKS, "usr1", "1000", "75")
        self.assertEqual(process.stdout.readline(), "waiting\n")
        self.network.cut()
        process.send_signal(signal.SIGINT)
        while "asking the ranks to save" not in process.stderr.readline():  # Open MPI may have a word on the link
            self.assertIsNone(process.poll())
        time.sleep(1.2)
        process.send_signal(signal.SIGINT)
        code, _, err = self.end(process)
        self.assertEqual(code, 130)
        self.assertRegex(err, ENDED_HERE)

    def test_a_host_that_dies_is_named_and_the_rest_goes_on(self):
        process = self.start_training()
        self.wait_for(process, lambda: self.steps() >= 30)
        self.second.die()
        code, _, err = self.end(process)
        self.assertEqual(code, 6, err)
        self.assertRegex(err, rf"\A{LOST}\Z")
        self.check_resume()

    def test_a_cut_link_ends_the_job(self):
        process = self.start_training()
        self.wait_for(process, lambda: self.steps() >= 30)
        self.network.cut()
        code, _, err = self.end(process)
        self.assertEqual(code, 6, err)
        self.assertRegex(err, rf"\Abraid: rank 0 on node01 waited \d+\.\d s for rank 1 in [^\n]*\n{ENDED_HERE}\Z")
        self.second.die()
        self.check_resume()


class Starting(HostsCase):
    def test_a_host_that_cannot_be_reached_is_named(self):
        code, _, err = self.end(self.start("hostname", hosts=("--host", "node01:1,node03:1")))
        self.assertEqual((code, err), (6, "no host node03\nbraid-mpirun: lost host node03: it cannot be reached (the "
                                          "command that starts its daemon ended with 255)\n"))

    def test_a_host_that_does_not_answer_is_named(self):
        self.network.agent.write_text("#!/bin/sh\nsleep 1000\n", encoding="utf-8")
        code, _, err = self.end(self.start("hostname", BRAID_START_SECONDS="2"))
        self.assertEqual((code, err), (6, "braid-mpirun: 2 of 2 ranks have not started within 2 s; no answer from: "
                                          "node02; ended what runs on this host\n"))

    def stall(self, strike, **changes):
        """What becomes of a training whose rank 1 comes to be, and to nothing more; `strike` is called then."""
        script = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || { touch there; sleep 1000; }; exec "$@"'
        process = self.start("sh", "-c", script, "sh", BRAID, "train", "base.yaml", "name=run", **changes)
        self.wait_for(process, (self.folder / "there").exists)
        strike()
        return self.end(process)

    def test_a_rank_stuck_in_the_start_ends_the_job(self):
        code, _, err = self.stall(lambda: None, BRAID_START_SECONDS="3")
        self.assertEqual((code, err), (6, WAITED))

    def test_a_link_cut_in_the_start_ends_the_job(self):
        code, _, err = self.stall(self.network.cut, BRAID_START_SECONDS="3")
        self.assertEqual(code, 6, err)
        self.assertRegex(err, rf"\A{re.escape(WAITED)}{ENDED_HERE}\Z")

    def test_a_host_that_dies_in_the_start_is_named(self):
        code, _, err = self.stall(self.second.die)
        self.assertEqual(code, 6, err)
        self.assertRegex(err, rf"\A{LOST}\Z")


if __name__ == "__main__":
    skip_without_namespaces()
    unittest.main(verbosity=2)
