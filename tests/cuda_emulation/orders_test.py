#!/usr/bin/env python3
# ctest: labels=gpu,slow timeout=1800 processors=2
"""The cases of ops and optim with threads and blocks in three orders, and what their launches ask of a GPU.

No result may depend on the order, to the bit; and every kernel in the table of tests/cuda must have been launched, with
no more threads, registers and shared memory than a GPU has. Cases that take more than an sm_80 has run on one as well.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD = (pathlib.Path(os.environ[name]) for name in ("BRAID_SOURCE_DIR", "BRAID_BINARY_DIR"))
sys.path.insert(0, str(SOURCE / "tests/cuda"))
from kernel_resources_test import TABLE, without_parameters  # noqa: E402

ORDERS = ("ascending", "reverse", "random:1")
# As tests/CMakeLists.txt has them.
PROGRAMS = {"test_ops": "-*.slow_*:*/slow_*",
            "test_optim": "adamw.equals_the_formula:muon.equals_the_formula:muon.keeps_*:muon.an_update_*:muon.scales"}
# Table "Technical Specifications per Compute Capability" of the CUDA C++ Programming Guide.
SHARED_OF_BLOCK = {"8.0": 163 << 10, "8.6": 99 << 10, "9.0": 227 << 10}
# What else has to run on less shared memory: kernels with the smallest tiles. In f64 not all kernels do.
ON_LEAST = ("attention.heads_of_256_and_of_odd_sizes", "attention.statistics_of_wide_heads",
            "delta_rule_types.heads_of_256")
WITHOUT_ASKING, REGISTERS, THREADS = 48 << 10, 65536, 1024
RESERVED = 1024     # of shared memory, by the system, which the table counts from sm_80 on
MOST_STATIC = 10 << 10
# Registers are given to warps in units of 256.
REGISTER_UNIT, WARP = 256, 32
# Kernels that no case launches, by a pattern of the table's line, and why.
NEVER_LAUNCHED = {
    r"^sort\.cu ": "the emulated GPU sorts on the host",
}


def environment(**more):
    return {**os.environ, "BRAID_TEST_DEVICE": "cuda", "OMP_NUM_THREADS": "1", **more}


def cases_of(program, pattern):
    listing = subprocess.run([BUILD / "tests" / program, "--gtest_list_tests", f"--gtest_filter={pattern}"],
                             stdout=subprocess.PIPE, check=True, timeout=120, encoding="utf-8").stdout
    host_cases = (SOURCE / "tests/ops/host_cases.txt").read_text(encoding="utf-8").splitlines()
    suite = ""
    for line in listing.splitlines():
        name = line.split("#")[0].rstrip()
        if not line.startswith(" "):
            suite = name if name.endswith(".") else ""
        elif suite and suite + name.strip() not in host_cases:
            yield program, suite + name.strip()


def run_ranks(folder):
    """Training steps, for the kernels that single operations do not need; in one order."""
    program = BUILD / "tests/test_distributed"
    done = subprocess.run([os.environ["BRAID_MPIRUN"], "-n", "2", program, "--gtest_filter=axes.*"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600, encoding="utf-8",
                          errors="replace", check=False,
                          env=environment(BRAID_EMULATION_LAUNCHES=str(folder / "launches")))
    return done.returncode, done.stdout[-2000:], read_launches(folder / "launches")


def read_launches(path):
    """Of launches: source, kernel, bytes of dynamic shared memory, threads."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {(source, without_parameters(name), int(dynamic), int(threads))
            for name, source, dynamic, threads in (line.split("\t") for line in set(lines))}


def run_case(case, order, folder, chip="9.0"):
    """Exit code, the end of what it printed, what its copies brought the host, and its launches."""
    program, name = case
    outputs = folder / (re.sub(r"\W", "_", f"{program}.{name}.{order}.{chip}") + ".outputs")
    launches = outputs.with_suffix(".launches")
    outputs.touch()
    done = subprocess.run([BUILD / "tests" / program, f"--gtest_filter={name}"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=600, encoding="utf-8", errors="replace", check=False,
                          env=environment(BRAID_EMULATION_ORDER=order, BRAID_EMULATION_OUTPUTS=str(outputs),
                                          BRAID_EMULATION_LAUNCHES=str(launches),
                                          BRAID_EMULATED_COMPUTE_CAPABILITY=chip))
    copies = outputs.read_text(encoding="utf-8").splitlines()
    return done.returncode, done.stdout[-2000:], copies, read_launches(launches)


def constant(name, text):
    """The value of a number, of a constant, or of its product and quotient with others."""
    if name.isdigit():
        return int(name)
    words = re.search(rf"constexpr int [^;]*?\b{name} = ([^,;]+)", text).group(1).split()
    value = constant(words[0], text)
    for sign, other in zip(words[1::2], words[2::2]):
        value = {"*": value * constant(other, text), "/": value // constant(other, text)}[sign]
    return value


def launch_bounds():
    """Of kernels by name, the most threads that their sources promise."""
    files = [path for folder in ("ops", "tensor") for path in sorted((SOURCE / folder).rglob("*"))
             if path.suffix == ".cu" or (path.suffix == ".h" and ("_cuda" in path.stem or path.parent.name == "cuda"))]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    everything, bounds = "\n".join(texts.values()), {}
    for path, text in texts.items():
        for threads, kernel in re.findall(r"__launch_bounds__\((\w+)[^)]*\)\s+(\w+)\(", text):
            value = constant(threads, text + everything)
            bounds["" if path.suffix == ".h" else path.name, kernel] = value
    return bounds


def compiled_kernels():
    """Of (file name, kernel): registers and static shared memory."""
    kernels = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines()[2:]:
        registers, _, shared, source, name = line.split(maxsplit=4)
        kernels[pathlib.Path(source).name, name] = (int(registers), max(0, int(shared) - RESERVED))
    return kernels


def unnumbered(name):
    return re.sub(r"#\d+", "#", name)


class Orders(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
        if "BRAID_CUDA_EMULATION:BOOL=ON" not in cache:
            raise unittest.SkipTest("the order of a real GPU cannot be chosen")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        folder = pathlib.Path(cls.folder.name)
        only = os.environ.get("BRAID_ORDERS_ONLY", "")      # a part of a case's name, by hand
        cls.cases = [case for program, pattern in PROGRAMS.items() for case in cases_of(program, pattern)
                     if only in case[1]]
        assert cls.cases
        jobs = [(case, order) for order in ORDERS for case in cls.cases]
        with concurrent.futures.ThreadPoolExecutor(2) as workers:
            done = list(workers.map(lambda job: run_case(*job, folder), jobs))
            cls.results = dict(zip(jobs, done))
            smaller = [(case, ORDERS[0], chip) for case in cls.cases for chip in ("8.0", "8.6")
                       if cls.needs_run(case, chip)]
            again = list(workers.map(lambda job: run_case(job[0], job[1], folder, job[2]), smaller))
        cls.smaller = dict(zip(smaller, again))
        cls.ranks = run_ranks(folder) if not only else (0, "", set())
        everything = [("9.0", one[3]) for one in done] + [("9.0", cls.ranks[2])]
        everything += [(job[2], one[3]) for job, one in cls.smaller.items()]
        cls.launches = sorted({(chip, *launch) for chip, launches in everything for launch in launches})

    @classmethod
    def needs_run(cls, case, chip):
        """Whether a case takes more on an sm_90 than this chip has, static memory apart, or is to fit it anyway."""
        most = max((dynamic for _, _, dynamic, _ in cls.results[case, ORDERS[0]][3]), default=0)
        return case[1] in ON_LEAST if chip == "8.6" else most + MOST_STATIC > SHARED_OF_BLOCK[chip]

    def test_every_case_passes_in_every_order(self):
        failed = [f"{case[1]} with {order}: exit code {self.results[case, order][0]}\n{self.results[case, order][1]}"
                  for case, order in self.results if self.results[case, order][0] != 0]
        failed += [f"{case[1]} on {chip}: exit code {one[0]}\n{one[1]}"
                   for (case, _, chip), one in self.smaller.items() if one[0] != 0]
        print(f"{len(self.smaller)} cases with less shared memory")
        self.assertEqual(failed, [])
        self.assertEqual(self.ranks[0], 0, self.ranks[1])

    def test_results_do_not_depend_on_the_order(self):
        copies, differences = 0, []
        for case in self.cases:
            expected = self.results[case, ORDERS[0]][2]
            copies += len(expected)
            for order in ORDERS[1:]:
                found = self.results[case, order][2]
                if found != expected:
                    at = next((i for i, pair in enumerate(zip(found, expected)) if pair[0] != pair[1]),
                              min(len(found), len(expected)))
                    differences.append(f"{case[1]} with {order}: copy {at} of {len(expected)} to the host differs")
        print(f"{len(self.cases)} cases, {copies} copies to the host, {len(ORDERS)} orders")
        self.assertGreater(copies, len(self.cases) // 2)
        self.assertEqual(differences, [])

    def test_launches_fit_a_gpu(self):
        kernels, bounds = compiled_kernels(), launch_bounds()
        rows, problems, launched = [], [], set()
        for chip, source, name, dynamic, threads in self.launches:
            # Kernels that are not local to a file are compiled with each that uses them.
            found = [key for key in kernels if key[1] == name and source in ("", key[0])]
            if not found:   # compilers number a function's lambdas each in its way
                found = [key for key in kernels if unnumbered(key[1]) == unnumbered(name) and source in ("", key[0])]
            if not found:
                problems.append(f"{source} {name}: launched, but not in {TABLE.name}")
            for key in found:
                launched.add(key)
                registers, static = kernels[key]
                warps = (threads + WARP - 1) // WARP
                of_block = warps * -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
                plain = name.split("<")[0]
                most = min(bounds.get((key[0], plain), THREADS), bounds.get(("", plain), THREADS))
                total = static + dynamic
                rows.append((total, dynamic, threads, of_block, f"{key[0]} {name}"))
                where = f"{key[0]} {name} with {threads} threads and {dynamic} bytes"
                if total > SHARED_OF_BLOCK[chip]:
                    problems.append(f"{where}: {total} bytes of shared memory, {chip} has {SHARED_OF_BLOCK[chip]}")
                if total > WITHOUT_ASKING and (dynamic == 0 or static > WITHOUT_ASKING):
                    problems.append(f"{where}: {static} bytes of static shared memory cannot be asked for")
                if of_block > REGISTERS:
                    problems.append(f"{where}: {of_block} registers")
                if threads > most:
                    problems.append(f"{where}: bounds of {most}")
        self.print_table(rows)
        never = [f"{source} {name}" for source, name in sorted(set(kernels) - launched)]
        used = {pattern for pattern in NEVER_LAUNCHED for kernel in never if re.search(pattern, kernel)}
        problems += [f"{kernel}: never launched" for kernel in never
                     if not any(re.search(pattern, kernel) for pattern in NEVER_LAUNCHED)]
        problems += [f"{pattern}: stands among those never launched, but is" for pattern in set(NEVER_LAUNCHED) - used]
        print(f"{len(launched)} of {len(kernels)} kernels launched, {len(self.launches)} kinds of launches")
        self.assertEqual(problems, [])

    def test_lack_of_shared_memory_is_told(self):
        folder = pathlib.Path(self.folder.name)
        code, printed, _, _ = run_case(("test_ops", "attention.wide_heads_in_f64"), ORDERS[0], folder, "8.6")
        self.assertNotEqual(code, 0)
        self.assertRegex(printed, r"attention: heads of 208 and 208 elements, computed in f64, would take \d+ bytes of "
                                  r"shared memory, of which .* \(compute capability 8.6\) has 101376 for a block")

    def print_table(self, rows):
        """One line a kernel, of the launch that takes most shared memory."""
        most = {}
        for row in rows:
            most[row[-1]] = max(most.get(row[-1], row), row)
        print(f"\n{'shared':>7} {'dynamic':>7} {'threads':>7} {'registers':>9} asks  kernel")
        for total, dynamic, threads, registers, kernel in sorted(most.values(), reverse=True):
            print(f"{total:>7} {dynamic:>7} {threads:>7} {registers:>9} {'yes' if total > WITHOUT_ASKING else '':<4}  "
                  f"{kernel}")


if __name__ == "__main__":
    unittest.main()
