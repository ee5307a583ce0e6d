#!/usr/bin/python3
"""Breaks the code on purpose and expects a test to notice: a test of the tests.

    mutation_check.py [WORDS]    all mutants (a quarter of an hour on two cores), or those with one of the words in them

Every text that is to be replaced must stand in its file, once, before the first mutant is built. Works on a copy of the
tree. Exit code 1 if a mutant survives, or if a test fails without one.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from mutants import MUTANTS

ROOT = pathlib.Path(__file__).resolve().parents[2]


def misplaced(mutants):
    """What is wrong with the texts of mutants, a line each."""
    lines = []
    for _, (what, file, text, mutant) in mutants:
        path = ROOT / file
        count = path.read_text(encoding="utf-8").count(text) if path.is_file() else 0
        if count != 1:
            lines.append(f"{what}: {file} has {text!r} {count} times, expected once")
        if text == mutant:
            lines.append(f"{what}: the mutant is the text")
    return lines


class Copy:
    """A copy of the tree that can be built."""

    def __init__(self, folder):
        self.tree = pathlib.Path(folder) / "braid"
        shutil.copytree(ROOT, self.tree, ignore=shutil.ignore_patterns("build", "dist", "runs", "data-cache", ".git"))
        done = self.run("cmake", "--preset", "cpu", "-D", "BRAID_BUILD_BENCH=OFF")
        assert done.returncode == 0, done.stdout[-3000:]

    def run(self, *command):
        # The compiler cache has what was compiled in the language of the shell; ctest sets another.
        environment = {name: value for name, value in os.environ.items() if name != "LC_ALL"}
        return subprocess.run(command, cwd=self.tree, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=3600, check=False)

    def notices(self, program, cases):
        """Whether a case of a test program fails on the tree as it is."""
        jobs = str(os.environ.get("BRAID_TEST_JOBS", os.cpu_count()))
        built = self.run("cmake", "--build", "--preset", "cpu", "--target", program, "-j", jobs)
        assert built.returncode == 0, built.stdout[-3000:]
        done = self.run(f"build/cpu/tests/{program}", f"--gtest_filter={cases}")
        assert "[==========] Running 0 tests" not in done.stdout, f"{program} has no case {cases}"
        return done.returncode != 0


def check(mutants):
    """Runs the mutants; the names of those that did not go as they should."""
    wrong = misplaced(MUTANTS)
    if wrong:
        return wrong
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(folder)
        for program, cases in sorted({tests for tests, _ in mutants}):
            if copy.notices(program, cases):
                wrong.append(f"{program} {cases} fails without a mutant")
        for (program, cases), (what, file, text, mutant) in [] if wrong else mutants:
            path = copy.tree / file
            original = path.read_text(encoding="utf-8")
            path.write_text(original.replace(text, mutant), encoding="utf-8")
            caught = copy.notices(program, cases)
            path.write_text(original, encoding="utf-8")
            print(f"{'caught' if caught else 'passed':<8} {what}", flush=True)
            if not caught:
                wrong.append(what)
    return wrong


def report(mutants):
    wrong = check(mutants)
    print("not as expected: " + "; ".join(wrong) if wrong else f"{len(mutants)} mutants caught")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(report([m for m in MUTANTS if len(sys.argv) == 1 or any(word in m[1][0] for word in sys.argv[1:])]))
