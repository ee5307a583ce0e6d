"""Two ranks in training, one of which is stopped or killed."""

import os
import pathlib
import signal
import subprocess
import time

from training_case import BRAID, BRAID_MPIRUN, TrainingCase


def variables(pid):
    entries = pathlib.Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def is_gone(pid):
    """Whether a process has ended; one that nobody has waited for yet has."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


class StuckRankCase(TrainingCase):
    ARGUMENTS = ()
    STEPS = 5   # that the run has written before the signal
    WATCHDOG_SECONDS = 3
    # Besides the limit: a report, a second for other reports, and two or three in which mpirun ends the stopped rank.
    # Five more let a busy machine be late; a job that hangs is what this tells apart.
    OVERHEAD_SECONDS = 12
    CONSEQUENCE = ""   # what the stopped rank may say once mpirun has woken it to end it

    def strike(self, name, number, rank, *arguments):
        """Trains on two ranks, sends one a signal in the midst of it: (exit code, standard error, seconds it took)."""
        process = subprocess.Popen([BRAID_MPIRUN, "-n", "2", BRAID, "train", "base.yaml", f"name={name}",
                                    "train.steps=1000000", "checkpoint.every=0", "eval.every=0", *self.ARGUMENTS,
                                    *arguments],
                                   cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        ranks = self.wait_for_ranks(name, process)
        os.kill(ranks[rank], number)
        start = time.monotonic()
        _, errors = process.communicate(timeout=120)
        took = time.monotonic() - start
        deadline = time.monotonic() + 10  # mpirun does not wait for the ranks it has killed
        while not all(map(is_gone, ranks.values())):
            self.assertLess(time.monotonic(), deadline, "ranks are left")
            time.sleep(0.05)
        return process.returncode, errors, took

    def wait_for_ranks(self, name, process):
        """The process of each rank, once the run has written its first STEPS steps."""
        metrics = self.folder / "runs" / name / "metrics.jsonl"
        while not metrics.exists() or metrics.read_text(encoding="utf-8").count("\n") < self.STEPS:
            self.assertIsNone(process.poll(), "the run ended by itself")
            time.sleep(0.02)
        ranks = {int(variables(pid)["OMPI_COMM_WORLD_RANK"]): pid for pid in self.rank_processes(name)}
        self.assertEqual(sorted(ranks), [0, 1])
        return ranks

    def check_stopped(self, name, missing, *arguments):
        waiting = 1 - missing
        code, errors, took = self.strike(name, signal.SIGSTOP, missing,
                                         f"parallel.watchdog_seconds={self.WATCHDOG_SECONDS}", *arguments)
        self.assertEqual(code, 6, errors)
        self.assertLess(took, self.WATCHDOG_SECONDS + self.OVERHEAD_SECONDS)
        # What the job was at when the signal came is chance; mostly it is the gradients of some layer.
        doing = r"(step \d+(, (gradients|parameters) of (head|embedding|layers\.\d+))?|between steps)"
        line = (rf"braid: rank {waiting} on \S+ waited \d+\.\d s for rank {missing} in "
                rf"all_(to_all|gather|reduce) \d+ of (data|world): {doing}\n")
        self.assertRegex(errors, rf"\A{line}({self.CONSEQUENCE})?\Z")
        said = errors.removeprefix("braid: ").split("\n")[0]
        report = (self.folder / "runs" / name / f"watchdog-rank-{waiting}.txt").read_text(encoding="utf-8")
        self.assertTrue(report.startswith(said + "\n"), report)
        self.assertIn(f"waiting for rank {missing}", report)
        self.assertIn("gradients of layers.1; ", report)
        self.assertFalse((self.folder / "runs" / name / f"watchdog-rank-{missing}.txt").exists())
