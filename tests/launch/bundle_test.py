#!/usr/bin/env python3
# ctest: labels=bundle timeout=300 processors=2
"""launch/bundle.sh: what it writes trains in a root folder that holds the C library, a shell and a few tools only."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

import training_case
from bare_root import GLIBC, command_in, find_namespace, make_root

BRAID = os.environ["BRAID"]
SCRIPT = pathlib.Path(os.environ["BRAID_SOURCE_DIR"]) / "launch" / "bundle.sh"
MAX_BYTES = 40_000_000
SKIPPED = 77  # as cmake/AddTest.cmake declares it


def bundle(*arguments):
    return subprocess.run([SCRIPT, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=240, check=False, umask=0o077)


def children_in(root):
    """(name, mapped files) of every process whose program lies under `root`."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = os.readlink(entry / "exe")
                if program.startswith(str(root)):
                    maps = (entry / "maps").read_text()
                    yield os.path.basename(program), set(re.findall(r"^[^/\n]*(/.*)$", maps, re.MULTILINE))
            except OSError:
                pass


class Bundle(training_case.TrainingCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="braid-bundle-test-")
        cls.addClassCleanup(folder.cleanup)
        cls.root = pathlib.Path(os.path.realpath(folder.name)) / "root"
        make_root(cls.root, BRAID)
        out = cls.root.parent / "out"
        done = bundle("--program", BRAID, "-o", out)
        assert done.returncode == 0, done.stderr
        cls.archive = out / "braid-bundle.tar.xz"
        (cls.root / "opt").mkdir()
        subprocess.run(["tar", "-C", cls.root / "opt", "-xJf", cls.archive], timeout=60, check=True)
        shutil.rmtree(out / "braid-bundle")  # nothing may be found where it was made

    def setUp(self):
        super().setUp()
        self.inside = pathlib.Path(tempfile.mkdtemp(dir=self.root / "work"))
        for name in ("base.yaml", "train.h5", "valid.h5"):
            shutil.copy(self.folder / name, self.inside)

    def command(self, line):
        return command_in(NAMESPACE, self.root, self.inside.relative_to(self.root), line)

    def bare(self, line, expect=0):
        return self.run_command(*self.command(line), expect=expect)

    def last_loss(self, name):
        lines = (self.inside / "runs" / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if "loss" in json.loads(line)][-1]["loss"]

    def test_it_is_small_and_says_what_it_is(self):
        self.assertLess(self.archive.stat().st_size, MAX_BYTES)
        with tarfile.open(self.archive) as archive:
            closed = [entry.name for entry in archive if entry.mode & 0o444 != 0o444 or
                      entry.isdir() and entry.mode & 0o111 != 0o111]
        self.assertEqual(closed, [], "not for all users, though made with a narrow umask")
        version = (self.root / "opt/braid-bundle/VERSION").read_text()
        self.assertEqual(self.bare("braid --version")[0], version.splitlines(keepends=True)[0])
        self.assertRegex(version, r"needs: glibc 2\.\d+ or newer")
        self.assertIn("total_parameters", self.bare("braid config show base.yaml")[0])
        licences = {path.name for path in (self.root / "opt/braid-bundle/licenses").iterdir()}
        self.assertLessEqual({"libopenmpi3", "libstdc++6"}, licences)

    def test_one_process_and_two_ranks_end_alike(self):
        self.bare("braid train base.yaml name=one train.steps=10")
        _, err = self.bare("braid-mpirun -n 2 braid train base.yaml name=two train.steps=10")
        self.assertNotRegex(err, r"(?i)mpirun|orte|mca|pmix|hwloc")
        self.assertAlmostEqual(self.last_loss("one"), self.last_loss("two"), delta=1e-6)

    def test_a_signal_saves_and_stops_and_nothing_is_loaded_from_elsewhere(self):
        process = subprocess.Popen(self.command("braid-mpirun -n 2 braid train base.yaml name=stop train.steps=999999"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        metrics = self.inside / "runs/stop/metrics.jsonl"
        while not (metrics.exists() and metrics.read_text().count("\n") > 2) and time.monotonic() < deadline:
            time.sleep(0.05)
        running = list(children_in(self.root / "opt"))
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=60)[1].decode()
        self.assertEqual(process.returncode, 75, errors)
        self.assertEqual(sorted(name for name, _ in running), ["braid", "braid", "mpirun"])
        for name, files in running:
            libraries = {path for path in files if ".so" in path}
            self.assertTrue(any("/lib/openmpi/mca_" in path for path in libraries), name)
            elsewhere = {path for path in libraries if not path.startswith(str(self.root / "opt"))}
            self.assertTrue(elsewhere)
            self.assertEqual({path for path in elsewhere if not GLIBC.fullmatch(os.path.basename(path))}, set())

    def test_a_bad_command_line_of_the_launcher_is_refused(self):
        for line, message in (("braid-mpirun -n two braid", "found two"), ("braid-mpirun braid", "-n N is required"),
                              ("braid-mpirun -n 2 --frob braid", "unknown option --frob"),
                              ("braid-mpirun -n 2 nothing", "cannot find the program")):
            self.assertIn(message, self.bare(line, expect=2)[1])


class Refusals(unittest.TestCase):
    def test_faults_are_named_and_leave_what_was_there(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = os.path.join(folder, "broken")
            shutil.copy(BRAID, broken)
            subprocess.run(["patchelf", "--add-needed", "libnowhere.so.7", broken], timeout=60, check=True)
            out = pathlib.Path(folder) / "out"
            (out / "braid-bundle").mkdir(parents=True)
            (out / "braid-bundle/VERSION").write_text("earlier")
            for arguments, code, message in (
                    (["--frob", "x"], 2, "launch/bundle.sh --preset"), (["--preset"], 2, "launch/bundle.sh --preset"),
                    (["--program", folder + "/none"], 2, "none is not built"),
                    (["--program", broken], 1, "libnowhere.so.7, which"),
                    (["--program", shutil.which("cat")], 1, "without MPI")):
                done = bundle(*arguments, *(["-o", out] if len(arguments) > 1 else []))
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                self.assertIn(message, done.stderr)
            self.assertEqual(os.listdir(out), ["braid-bundle"])
            self.assertEqual((out / "braid-bundle/VERSION").read_text(), "earlier")


if __name__ == "__main__":
    NAMESPACE = find_namespace()
    if NAMESPACE is None:
        print("skipped: neither root nor a user of this machine may mount and change the root folder in a namespace")
        sys.exit(SKIPPED)
    unittest.main()
