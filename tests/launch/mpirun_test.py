#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=1
"""What launch/braid-mpirun promises: exit codes, signals, threads, and a quiet stderr. docs/launch.md states it."""

import contextlib
import fcntl
import os
import pathlib
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

LAUNCHER = os.environ["BRAID_MPIRUN"]
RANKS = os.path.join(os.environ["BRAID_BINARY_DIR"], "tests", "rank_behaviour")
# What the launcher and env.sh set where the caller has not.
THEIR_VARIABLES = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "BRAID_TERMINAL", "BRAID_RANKS_BOUND", "BRAID_PRESET",
                   "OMPI_MCA_mpi_yield_when_idle")


def environment(**changes):
    clean = {name: value for name, value in os.environ.items() if name not in THEIR_VARIABLES}
    return {**clean, **changes}


def start(*arguments, prefix=(), launcher=LAUNCHER, **changes):
    return subprocess.Popen([*prefix, launcher, *arguments], env=environment(**changes), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*arguments, **keywords):
    """(exit code, stdout, stderr) of a job. The limit ends a hang only; nothing is judged by time."""
    process = start(*arguments, **keywords)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@contextlib.contextmanager
def fake_mpirun(text):
    """A PATH that finds this program as mpirun."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "mpirun")
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        yield f"{folder}:{os.environ['PATH']}"


def wait_until_gone(marker, seconds):
    """Whether every process with `marker` in its command line ends within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(marker in line for line in command_lines()):
            return True
        time.sleep(0.05)
    return False


def command_lines():
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass


class ExitCodes(unittest.TestCase):
    def test_all_ranks_exit_with_a_documented_code(self):
        for code in (0, 3, 6, 75):
            self.assertEqual(run("-n", "2", RANKS, "exit", str(code)), (code, "", ""))

    def test_one_rank_finishes_with_a_code_of_its_own(self):
        self.assertEqual(run("-n", "4", RANKS, "exit", "0", "75", "75", "75"), (75, "", ""))
        self.assertEqual(run("-n", "3", RANKS, "exit", "0", "0", "3"), (3, "", ""))

    def test_a_rank_aborts_while_the_others_wait(self):
        self.assertEqual(run("-n", "2", RANKS, "abort", "1", "6"), (6, "", ""))

    def test_a_rank_leaves_without_finalize_while_the_others_wait(self):
        # As the watchdog does, with _exit(6).
        self.assertEqual(run("-n", "2", RANKS, "desert", "1", "6"), (6, "", ""))

    def test_a_killed_rank_ends_the_job_with_one_line(self):
        code, out, err = run("-n", "3", RANKS, "kill", "1", str(int(signal.SIGKILL)))
        self.assertEqual((code, out), (128 + signal.SIGKILL, ""))
        self.assertRegex(err, r"\Abraid-mpirun: rank 1 on \S+ was ended by signal 9 \(SIGKILL\)\n\Z")

    def test_output_of_ranks_and_unknown_messages_pass(self):
        text = "-" * 74 + "\nnot from mpirun\n" + "-" * 74 + "\nmpirun is a word\n[x] y\nno newline"
        code, out, err = run("-n", "1", sys.executable, "-c", f"import sys; sys.stderr.write({text!r}); sys.exit(5)")
        self.assertEqual((code, out, err), (5, "", text))

    def test_noise_of_open_mpi_about_ended_ranks_is_dropped(self):
        text = ("[vm:02836] [[26602,0],0] ORTE_ERROR_LOG: Out of resource in file ../../../orte/util/show_help.c "
                "at line 501\n[vm:7] Read -1, expected 8, errno = 3\n"
                "[vm:16581] [[11323,0],0] ORTE_ERROR_LOG: Data unpack had inadequate space in file "
                "../../../orte/util/show_help.c at line 513\n"
                "kept\n[vm:1] [[1,0],0] ORTE_ERROR_LOG: Out of resource in file ../../../orte/mca/plm/base/plm.c "
                "at line 5\n")
        code, out, err = run("-n", "1", sys.executable, "-c", f"import sys; sys.stderr.write({text!r})")
        self.assertEqual((code, out), (0, ""))
        self.assertEqual(err, text[text.index("kept"):])


class Starts(unittest.TestCase):
    def test_a_rank_that_is_alone_says_so(self):
        # As where a program was built with another MPI than the one that starts it.
        hidden = [f"--unset={name}" for name in ("OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE", "PMI_RANK")]
        code, _, err = run("-n", "2", "env", *hidden, os.environ["BRAID"], "doctor")
        self.assertEqual(code, 6)
        self.assertRegex(err, r"\A(braid: \S+: expected a world of 2 ranks, but for MPI this process is alone; "
                              r"[^\n]*\n)+\Z")

    def test_tasks_of_slurm_without_mpi_are_refused(self):
        done = subprocess.run([os.environ["BRAID"], "doctor"], env=environment(SLURM_STEP_NUM_TASKS="4"), timeout=60,
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 6)
        self.assertRegex(done.stderr, r"\Abraid: \S+: expected a world of 4 ranks, but for MPI this process is alone; ")

    def test_a_start_that_stalls_ends(self):
        script = '[ "$OMPI_COMM_WORLD_RANK" = 0 ] || sleep 1000; exec "$@"'
        code, _, err = run("-n", "2", "sh", "-c", script, "sh", os.environ["BRAID"], "doctor", BRAID_START_SECONDS="2")
        self.assertEqual(code, 6)
        self.assertRegex(err, r"\Abraid: rank 0 on \S+ waited 2\.0 s for others of 2 ranks in MPI's start\n"
                              r"braid-mpirun: ranks that have not come to MPI's start: 1\n\Z")

    def test_an_mpirun_that_does_not_end_is_ended(self):
        # As with a dead link: a rank has ended the job, and mpirun waits for others.
        marker = f"3597.{os.getpid()}"
        mpirun = f"""#!/bin/bash
trap '' TERM
echo 'braid: rank 0 on node01 waited 4.0 s for rank 1 in all_gather 3 of world: step 1' >&2
sleep {marker} &
wait
"""
        with fake_mpirun(mpirun) as path:
            code, out, err = run("-n", "2", RANKS, PATH=path)
        self.assertEqual((code, out), (6, ""))
        self.assertRegex(err, r"\Abraid: rank 0 [^\n]*\nbraid-mpirun: mpirun has not ended the job within \d+ s; "
                              r"ended what runs on this host\n\Z")
        self.assertTrue(wait_until_gone(f"sleep {marker}", 10))

    def test_one_host_listens_on_loopback_only(self):
        self.check_listens_on_loopback()

    def test_one_host_listens_on_loopback_only_in_a_folder_with_blanks(self):
        with tempfile.TemporaryDirectory() as folder:
            tree = pathlib.Path(folder, "a tree")
            tree.symlink_to(os.environ["BRAID_SOURCE_DIR"])
            self.check_listens_on_loopback(tree / "launch/braid-mpirun")

    def test_ranks_do_not_inherit_what_keeps_mpirun_on_loopback(self):
        asked = 'echo "${LD_PRELOAD-none}, $LD_LIBRARY_PATH, ${BRAID_LOOPBACK-none}"'
        out = run("-n", "1", "bash", "-c", asked, LD_LIBRARY_PATH="/nowhere:/else where")[1]
        # mpirun puts folders of its own before.
        preloaded = re.escape(os.environ.get("LD_PRELOAD", "none"))
        self.assertRegex(out, rf"\A{preloaded}, ((/usr)?/lib\w*(/[\w.-]+)*:)*/nowhere:/else where, none\n\Z")

    def check_listens_on_loopback(self, launcher=LAUNCHER):
        job = start("-n", "2", RANKS, "usr1", "0", "75", launcher=launcher)
        self.assertEqual(job.stdout.readline(), "waiting\n")
        mpirun = int(subprocess.run(["pgrep", "-x", "-P", str(job.pid), "mpirun"], capture_output=True, text=True,
                                    check=True).stdout)
        inodes = {os.readlink(entry).strip("socket:[]") for entry in pathlib.Path(f"/proc/{mpirun}/fd").iterdir()}
        listening = [line.split() for name in ("tcp", "tcp6")
                     for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
        addresses = {words[1].split(":")[0] for words in listening if words[3] == "0A" and words[9] in inodes}
        job.send_signal(signal.SIGTERM)
        job.communicate(timeout=60)
        self.assertTrue(addresses)
        self.assertLessEqual(addresses, {"0100007F", "0" * 24 + "01000000"})

    def test_a_bad_start_limit_is_refused(self):
        code, _, err = run("-n", "1", RANKS, "exit", "0", BRAID_START_SECONDS="soon")
        self.assertEqual((code, err), (2, "braid-mpirun: BRAID_START_SECONDS: expected a number of seconds, or 0 for "
                                          "no limit, found 'soon'\n"))

    def test_a_bad_command_line_is_refused(self):
        for arguments, expected in ((["-n", "two", RANKS], "expected a number of ranks, found two"),
                                    (["-n", "0", RANKS], "expected a number of ranks, found 0"),
                                    ([RANKS], "-n N is required"),
                                    (["-n", "2"], "expected a program"),
                                    (["-n", "2", "--frobnicate", RANKS], "unknown option --frobnicate"),
                                    (["-n", "2", "no-such-program"], "cannot find the program no-such-program")):
            code, out, err = run(*arguments)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(expected, err)
            self.assertEqual(err.count("\n"), 1)


class Signals(unittest.TestCase):
    def check_stop(self, number, repeat=1):
        job = start("-n", "2", RANKS, "usr1", "2.5", "75")  # "saving" outlives the second mpirun grants after a SIGTERM
        self.assertEqual(job.stdout.readline(), "waiting\n")
        for _ in range(repeat):
            job.send_signal(number)
        out, err = job.communicate(timeout=60)
        self.assertEqual((job.returncode, out), (75, "saved\n"))
        self.assertRegex(err, r"\Abraid-mpirun: signal \d+ \(\w+\): asking the ranks to save and stop\n\Z")

    def test_sigterm_lets_the_ranks_save(self):
        self.check_stop(signal.SIGTERM)

    def test_sigterm_twice_lets_the_ranks_save(self):
        self.check_stop(signal.SIGTERM, repeat=2)

    def test_sigint_lets_the_ranks_save(self):
        self.check_stop(signal.SIGINT)

    def test_sigusr1_lets_the_ranks_save(self):
        self.check_stop(signal.SIGUSR1)

    def test_a_signal_at_any_moment_of_the_start_stops_the_job(self):
        for delay in (0.15, 0.25, 0.35, 0.5):
            job = start("-n", "2", RANKS, "usr1", "0", "75")
            wait_for_handler(job.pid)
            time.sleep(delay)
            job.send_signal(signal.SIGTERM)
            out, _ = job.communicate(timeout=60)
            self.assertEqual(job.returncode, 75, f"signal after {delay} s; stdout {out!r}")

    def test_mpiruns_own_end_does_not_hide_the_exit_code(self):
        # As libevent does, it gives its handler back before it ends; the launcher goes on sending until then.
        mpirun = """#!/usr/bin/env python3
import signal, sys, time
before = signal.signal(signal.SIGUSR1, lambda *_: None)
print("waiting", flush=True)
signal.pause()
signal.signal(signal.SIGUSR1, before)
signal.raise_signal(signal.SIGUSR1)  # one that was on its way
sys.exit(7)
"""
        with fake_mpirun(mpirun) as path:
            job = start("-n", "2", RANKS, PATH=path)
            self.assertEqual(job.stdout.readline(), "waiting\n")
            job.send_signal(signal.SIGTERM)
            job.communicate(timeout=60)
        self.assertEqual(job.returncode, 7)

    def test_a_second_ctrl_c_ends_the_job_at_once(self):
        seconds = f"3599.{os.getpid()}"  # another copy of the tests has another one
        job = start("-n", "2", RANKS, "usr1", seconds, "75")
        self.assertEqual(job.stdout.readline(), "waiting\n")
        job.send_signal(signal.SIGINT)
        self.assertIn("asking the ranks to save", job.stderr.readline())
        time.sleep(1.2)
        job.send_signal(signal.SIGINT)
        job.communicate(timeout=60)
        self.assertEqual(job.returncode, 128 + signal.SIGINT)
        self.assertTrue(wait_until_gone(f"usr1 {seconds}", 10))

    def test_a_killed_launcher_leaves_no_rank(self):
        seconds = f"3598.{os.getpid()}"
        job = start("-n", "2", RANKS, "usr1", seconds, "75")
        self.assertEqual(job.stdout.readline(), "waiting\n")
        job.kill()
        job.communicate(timeout=60)
        self.assertTrue(wait_until_gone(f"usr1 {seconds}", 10))


def wait_for_handler(pid):
    while True:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


def threads_of_a_core():
    """How many of the processors that this process may run on are one core."""
    ours = os.sched_getaffinity(0)
    listed = pathlib.Path(f"/sys/devices/system/cpu/cpu{min(ours)}/topology/thread_siblings_list")
    if not listed.exists():
        return 1
    ranges = [part.split("-") for part in listed.read_text().split(",")]
    return len(ours & {cpu for ends in ranges for cpu in range(int(ends[0]), int(ends[-1]) + 1)})


class Streams(unittest.TestCase):
    def shell(self, redirections, *arguments):
        done = subprocess.run(["bash", "-c", f'exec "$@" {redirections}', "bash", LAUNCHER, *arguments],
                              env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              check=False)
        return done.returncode, done.stdout, done.stderr

    def test_no_stream_changes_the_exit_code(self):
        for redirections in (">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2> /dev/full", "> /dev/full 2> /dev/full"):
            self.assertEqual(self.shell(redirections, "-n", "1", "sh", "-c", "echo out; echo err >&2; exit 5")[0], 5)
            self.assertEqual(self.shell(redirections, "-n", "1", "no-such-program")[0], 2)

    def test_a_full_output_is_told_once(self):
        code, _, err = self.shell("> /dev/full", "-n", "1", "sh", "-c", "echo out; sleep 0.1; echo more; exit 5")
        self.assertEqual(code, 5)
        self.assertEqual(err, "braid-mpirun: standard output: cannot write: No space left on device; the job goes on "
                              "without it\n")

    def test_the_job_outlives_the_reader_of_its_output(self):
        # mpirun by itself ends after ten lines that nobody takes.
        job = start("-n", "1", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do "
                    "echo $i; echo $i >&2; sleep 0.05; done; exit 5")
        for stream in (job.stdout, job.stderr):
            stream.readline()
            stream.close()
        self.assertEqual(job.wait(timeout=60), 5)

    def test_standard_input_reaches_rank_0(self):
        done = subprocess.run([LAUNCHER, "-n", "2", "cat"], env=environment(), input="one\ntwo", capture_output=True,
                              text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "one\ntwo", ""))


class Threads(unittest.TestCase):
    def value(self, ranks, name, **changes):
        code, out, err = run("-n", str(ranks), RANKS, "env", name, **changes)
        self.assertEqual((code, err), (0, ""))
        return out.strip().split("=", 1)[1]

    def use_two_cores(self):
        """Leaves the jobs of a test two cores at most: it starts ranks for all, and a machine may have hundreds."""
        allowed = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, allowed)
        os.sched_setaffinity(0, sorted(allowed)[:2])
        return len(os.sched_getaffinity(0))

    def test_cores_are_shared_out_within_the_affinity_mask(self):
        cores, first = self.use_two_cores(), str(min(os.sched_getaffinity(0)))
        self.assertEqual(self.value(1, "OMP_NUM_THREADS"), str(cores))
        self.assertEqual(self.value(cores, "OMP_NUM_THREADS"), "1")
        self.assertEqual(self.value(1, "OMP_NUM_THREADS", prefix=("taskset", "-c", first)), "1")

    def test_the_users_threads_win(self):
        self.assertEqual(self.value(2, "OMP_NUM_THREADS", OMP_NUM_THREADS="3"), "3")

    def test_threads_that_outnumber_the_cores_wait_passively(self):
        cores = self.use_two_cores()
        self.assertEqual(self.value(cores, "OMP_WAIT_POLICY"), "")
        self.assertEqual(self.value(2 * cores, "OMP_WAIT_POLICY"), "passive")
        self.assertEqual(self.value(2 * cores, "OMP_WAIT_POLICY", OMP_WAIT_POLICY="active"), "active")

    def test_ranks_may_run_on_every_core_unless_bound(self):
        cores = len(os.sched_getaffinity(0))
        self.assertEqual(run("-n", "2", RANKS, "affinity"), (0, f"cores={cores}\n" * 2, ""))
        of_core = threads_of_a_core()
        if cores >= 2 * of_core:
            self.assertEqual(run("-n", "2", "--bind-to", "core", RANKS, "affinity")[:2], (0, f"cores={of_core}\n" * 2))

    def test_ranks_know_that_no_terminal_shows_their_output(self):
        self.assertEqual(self.value(1, "BRAID_TERMINAL"), "0")

    def test_ranks_know_the_terminal_and_its_width(self):
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 131, 0, 0))
        changes = {name: value for name, value in environment().items() if name != "COLUMNS"}
        process = subprocess.Popen([LAUNCHER, "-n", "1", "sh", "-c", "echo $BRAID_TERMINAL $COLUMNS"], env=changes,
                                   stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertEqual(os.read(ours, 4096).strip(), b"1 131")
        os.close(ours)

    def test_waiting_ranks_yield(self):
        self.assertEqual(self.value(1, "OMPI_MCA_mpi_yield_when_idle"), "1")


class Programs(unittest.TestCase):
    def test_braid_means_the_built_binary(self):
        with tempfile.TemporaryDirectory(prefix="braid test ") as folder:
            root = os.path.realpath(folder)
            shutil.copytree(os.path.dirname(LAUNCHER), os.path.join(root, "launch"))
            for preset, changes in (("cpu", {}), ("mine", {"BRAID_PRESET": "mine"})):
                built = pathlib.Path(root, "build", preset, "braid")
                built.parent.mkdir(parents=True)
                shutil.copy(shutil.which("true"), built)
                launched = subprocess.run([os.path.join(root, "launch", "braid-mpirun"), "-n", "2", "--print", "braid",
                                           "train", "x y.yaml"], env=environment(**changes), stdout=subprocess.PIPE,
                                          text=True, check=True).stdout
                # Words that a shell would split are quoted.
                self.assertEqual(shlex.split(launched)[-3:], [str(built), "train", "x y.yaml"])

    def test_hosts_get_the_variables_and_their_own_slots(self):
        code, out, _ = run("-n", "4", "--host", "a:2,b:2", "--print", RANKS, OMP_NUM_THREADS="5")
        self.assertEqual(code, 0)
        self.assertIn("-x OMP_NUM_THREADS", out)
        self.assertNotIn("--oversubscribe", out)

    def test_env_sh_runs_from_any_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "launch"))  # which a shell with CDPATH would take for ours
            for script, changes in (('source "$BRAID_SOURCE_DIR/launch/env.sh"', {}),
                                    ('cd "$BRAID_SOURCE_DIR" && source launch/env.sh', {"CDPATH": folder})):
                out = subprocess.run(["bash", "-c", script + " && command -v braid-mpirun"], cwd=folder,
                                     env=environment(**changes), stdout=subprocess.PIPE, text=True, check=True).stdout
                self.assertEqual(out.strip(), LAUNCHER)


if __name__ == "__main__":
    unittest.main(verbosity=2)
