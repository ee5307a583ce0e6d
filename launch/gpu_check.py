#!/usr/bin/env python3
"""The stages of launch/gpu_check.sh, which says what it does and takes; run that one."""

import argparse
import ast
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What a stage may take of the whole time; what it leaves goes to those after it.
SHARES = {"facts": 1, "ops": 6, "e2e": 4, "nccl": 4, "sanitize": 5, "speed": 6, "long": 4}
SKIPPED_CODE = 77
NO_GPU = re.compile(r"SKIPPED . BRAID_TEST_DEVICE=cuda, but there is no GPU")
MAX_KEPT = 20_000  # bytes of output of a case that failed
CASES = "-*.slow_*:*/slow_*"
# As tests/CMakeLists.txt has them: ranks that are threads have no communicator for a GPU.
GPU_OPTIMIZER = re.compile(r"(adamw|muon)\.equals_the_formula$|muon\.(keeps_|an_update_|scales)")


@dataclasses.dataclass
class Case:
    name: str
    command: list
    limit: float  # seconds; less where the stage has less
    environment: dict = dataclasses.field(default_factory=dict)
    keep: str = ""  # a file of the results that gets the output


@dataclasses.dataclass
class Result:
    stage: str
    case: str
    outcome: str  # passed, failed, skipped, not run
    seconds: float = 0
    why: str = ""


class Programs:
    """Where the program, its tests and benches lie: in a bundle, or in a build folder of the tree."""

    def __init__(self, build):
        self.bundle = build is None and (ROOT / "libexec").is_dir()
        self.build = pathlib.Path(build or ROOT / "build" / "cuda").resolve()
        self.braid = str(ROOT / "bin/braid" if self.bundle else self.build / "braid")
        self.launcher = str(ROOT / ("bin" if self.bundle else "launch") / "braid-mpirun")

    def find(self, name):
        """The path of a test program or bench, or None."""
        folder = "tests" if name.startswith("test_") else "bench"
        path = ROOT / "bin" / name if self.bundle else self.build / folder / name
        return str(path) if path.is_file() else None

    def environment(self):
        return dict(os.environ, BRAID=self.braid, BRAID_MPIRUN=self.launcher, BRAID_SOURCE_DIR=str(ROOT),
                    BRAID_BINARY_DIR=str(ROOT if self.bundle else self.build), PYTHONPATH=str(ROOT / "tests/support"),
                    PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive", LC_ALL="C.UTF-8",
                    BRAID_SHARE_GPU="1")


def output_of(command, environment, limit=60):
    """Standard output and error of a command, or why there is none."""
    try:
        done = subprocess.run(command, env=environment, timeout=limit, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        return done.stdout.decode(errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}\n"


def host_cases():
    """Cases of the ops' tests that touch no GPU."""
    lines = (ROOT / "tests/ops/host_cases.txt").read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def gtest_cases(program, environment, cases=CASES):
    """SUITE.CASE of each case of a test program, of those of the ops that touch a GPU."""
    found, suite = [], ""
    for line in output_of([program, "--gtest_list_tests", f"--gtest_filter={cases}"], environment).splitlines():
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            found.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    left_out = host_cases()
    return [name for name in found if name not in left_out]


def python_cases(path):
    """CLASS.METHOD of each test of a Python test program that is defined in it."""
    classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    return [f"{one.name}.{node.name}" for one in classes for node in one.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


class Check:
    def __init__(self, options):
        self.options = options
        self.programs = Programs(options.build)
        self.environment = self.programs.environment()
        self.out = pathlib.Path(options.out).resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        for name in ("results.jsonl", "failures.txt", "table.txt"):
            (self.out / name).write_text("", encoding="utf-8")
        self.results = []
        self.lock = threading.Lock()
        self.emulated = False

    # ---- stages: the cases of each

    def op_cases(self):
        gpu = {"BRAID_TEST_DEVICE": "cuda"}
        for program in ("test_ops", "test_optim"):
            path = self.programs.find(program)
            if path is None:
                self.record(Result("ops", program, "not run", why="the program is not here"))
                continue
            for name in gtest_cases(path, self.environment):
                if program == "test_ops" or GPU_OPTIMIZER.match(name):
                    yield Case(f"{program[5:]}.{name}", [path, f"--gtest_filter={name}"], 120, gpu)

    def e2e_cases(self):
        for script in ("e2e/gpu_test.py", "faults/gpu_stuck_rank_test.py"):
            path = ROOT / "tests" / script
            for name in python_cases(path):
                yield Case(f"{path.stem}.{name}", [sys.executable, str(path), name], 300)
        path = ROOT / "tests/e2e/host_waits_test.py"
        yield Case("host_waits", [sys.executable, str(path)], 300, keep="host_waits.txt")

    def distributed(self, suite, ranks, limit):
        program = self.programs.find("test_distributed")
        if program is None:
            self.record(Result("nccl", suite, "not run", why="test_distributed is not here"))
            return []
        command = [self.programs.launcher, "-n", str(ranks), program, f"--gtest_filter={suite}.*"]
        return [Case(f"distributed.{suite}.{ranks}_ranks", command, limit, {"BRAID_TEST_DEVICE": "cuda"})]

    def nccl_cases(self):
        for ranks in (1, 2, 4):
            yield from self.distributed("axes", ranks, 240)
        yield from self.distributed("layout_property", 2, 240)
        for ranks in (1, 2):
            command = [self.programs.launcher, "-n", str(ranks), self.programs.braid, "doctor", "--device", "cuda"]
            yield Case(f"doctor.{ranks}_ranks", command, 120, keep=f"doctor-{ranks}.txt")

    def sanitize_cases(self):
        sanitizer = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
        path = self.programs.find("test_ops")
        if sanitizer is None or path is None:
            missing = "compute-sanitizer is not on the PATH" if sanitizer is None else "test_ops is not here"
            self.record(Result("sanitize", "all", "not run", why=missing))
            return
        # The suites of kernels with barriers, shared memory and asynchronous copies first, should the time run out.
        first = ("attention", "delta_rule", "grouped_linear", "bf16_gemm", "tile_gemm", "norm", "cross_entropy",
                 "routing")
        names = gtest_cases(path, self.environment)
        suites = sorted({name.split(".")[0] for name in names},
                        key=lambda suite: (first.index(suite) if suite in first else len(first), suite))
        for tool in ("memcheck", "racecheck", "synccheck", "initcheck"):
            environment = {"BRAID_TEST_DEVICE": "cuda"}
            if tool in ("memcheck", "initcheck"):
                environment["BRAID_SEPARATE_BLOCKS"] = "1"  # else an access beyond a block is one to its neighbour
            for suite in suites:
                # Racecheck of these takes minutes on one core: case by case they share the cores.
                alone = tool == "racecheck" and suite in ("attention", "delta_rule")
                of_suite = [name for name in names if name.startswith(f"{suite}.")]
                for part in of_suite if alone else [suite]:
                    cases = part if alone else ":".join(of_suite)
                    command = [sanitizer, "--tool", tool, "--target-processes", "all", "--error-exitcode", "9", path,
                               f"--gtest_filter={cases}"]
                    yield Case(f"{tool}.{part}", command, 300, environment)

    def speed_cases(self):
        small = ["--small", "--repetitions", "1"] if self.emulated else []
        bench = self.programs.find("bench_gpu_kernels")
        if bench is None:
            self.record(Result("speed", "gpu_kernels", "not run", why="bench_gpu_kernels is not here"))
            return
        command = [bench, "--json", str(self.out / "gpu_kernels.json"), *small]
        yield Case("gpu_kernels", command, 3600, keep="gpu_kernels.txt")

    def long_cases(self):
        path = self.programs.find("test_ops")
        for name in gtest_cases(path, self.environment, "*.slow_*:*/slow_*") if path else []:
            yield Case(f"ops.{name}", [path, f"--gtest_filter={name}"], 300, {"BRAID_TEST_DEVICE": "cuda"})
        command = [sys.executable, str(ROOT / "launch/gpu_check_train.py"), self.programs.braid, str(self.out)]
        yield Case("train", [*command, *(["--small"] if self.emulated else [])], 3600, keep="train.txt")
        for ranks in (2, 4):
            yield from self.distributed("parity", ranks, 600)

    # ---- running them

    def record(self, result):
        with self.lock:
            self.results.append(result)
            with open(self.out / "results.jsonl", "a", encoding="utf-8") as lines:
                lines.write(json.dumps(dataclasses.asdict(result)) + "\n")
        if result.outcome != "passed":
            print(f"   {result.outcome}: {result.case} {result.why}", flush=True)

    def run(self, stage, case, deadline):
        limit = min(case.limit, deadline - time.monotonic())
        if limit < 1:
            self.record(Result(stage, case.name, "not run", why="the stage's time was used up"))
            return
        start = time.monotonic()
        # Sessions of their own, so that ranks and what tests have started end with them.
        environment = {**self.environment, **case.environment, "BRAID_CHECK_SECONDS": str(int(limit))}
        try:
            process = subprocess.Popen(case.command, env=environment, cwd=self.out, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            self.record(Result(stage, case.name, "failed", why=str(error)))
            return
        late = False
        try:
            text = process.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(process.pid, signal.SIGKILL)
            text = process.communicate()[0]
        seconds = time.monotonic() - start
        text = text.decode(errors="replace")
        if case.keep:
            (self.out / case.keep).write_text(text, encoding="utf-8")
        self.record(self.judge(stage, case, process.returncode, late, limit, seconds, text))

    def judge(self, stage, case, code, late, limit, seconds, text):
        if late:
            # Only a limit of its own makes a case fail; where the stage ended, nothing is known.
            outcome, why = ("failed" if limit >= case.limit else "not run"), f"not done after {limit:.0f} s"
        elif code == SKIPPED_CODE or (code == 0 and NO_GPU.search(text)):
            outcome, why = "skipped", "no GPU"
        elif code == 0:
            outcome, why = "passed", ""
        elif code < 0:
            outcome, why = "failed", signal.Signals(-code).name
        else:
            outcome, why = "failed", f"exit code {code}"
        if outcome == "failed":
            with self.lock, open(self.out / "failures.txt", "a", encoding="utf-8") as failures:
                failures.write(f"==== {stage}: {case.name}: {why}\n{' '.join(map(str, case.command))}\n"
                               f"{text[-MAX_KEPT:]}\n")
        return Result(stage, case.name, outcome, round(seconds, 2), why)

    def facts(self):
        """Writes facts.txt; whether there is a GPU."""
        text = output_of([self.programs.braid, "doctor", "--device", "auto"], self.environment, 120)
        found = "no GPU found" not in text and "CUDA on" in text
        self.emulated = "an emulated GPU" in text
        with open(self.out / "facts.txt", "w", encoding="utf-8") as facts:
            facts.write(time.strftime("%Y-%m-%d %H:%M:%S %Z\n") + text)
            for command in (["nvidia-smi"], ["nvidia-smi", "-q", "-d", "CLOCK,POWER,PERFORMANCE"], ["uname", "-a"],
                            ["lscpu"], ["ldd", self.programs.braid], [sys.executable, "--version"]):
                facts.write(f"\n$ {' '.join(command)}\n{output_of(command, self.environment)}")
        print(text, flush=True)
        return found

    def stage(self, name, seconds):
        cases = {"ops": self.op_cases, "e2e": self.e2e_cases, "nccl": self.nccl_cases, "sanitize": self.sanitize_cases,
                 "speed": self.speed_cases, "long": self.long_cases}[name]
        start = time.monotonic()
        chosen = [case for case in cases() if re.search(self.options.filter, case.name)]
        print(f"== {name}: {len(chosen)} cases in at most {seconds:.0f} s", flush=True)
        # Times and ranks that share a GPU are not to be disturbed.
        at_once = self.options.jobs if name in ("ops", "sanitize") else 1
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda case: self.run(name, case, start + seconds), chosen))

    def table(self):
        lines = [f"{'stage':10}{'passed':>8}{'failed':>8}{'skipped':>9}{'not run':>9}{'seconds':>9}"]
        for stage in SHARES:
            of_stage = [result for result in self.results if result.stage == stage]
            counts = collections.Counter(result.outcome for result in of_stage)
            if of_stage:
                lines.append(f"{stage:10}{counts['passed']:8}{counts['failed']:8}{counts['skipped']:9}"
                             f"{counts['not run']:9}{sum(result.seconds for result in of_stage):9.0f}")
        lines += [f"{result.outcome}: {result.stage}: {result.case}: {result.why}" for result in self.results
                  if result.outcome in ("failed", "not run")]
        return "\n".join(lines) + "\n"


def parse_options():
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description="Checks the CUDA backend on this machine's GPU.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=", ".join(SHARES))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", default="gpu-check")
    parser.add_argument("--build")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose name it is found in")
    options = parser.parse_args()
    unknown = [stage for stage in options.stages if stage not in SHARES]
    if unknown:
        parser.error(f"expected stages among {', '.join(SHARES)}, found {', '.join(unknown)}")
    if not 0 < options.minutes <= 24 * 60 or options.jobs < 1:
        parser.error("expected --minutes in 0 to 1440 and --jobs of at least 1")
    try:
        re.compile(options.filter)
    except re.error as error:
        parser.error(f"--filter: {error}")
    return options


def main():
    options = parse_options()
    check = Check(options)
    if not os.access(check.programs.braid, os.X_OK):
        print(f"gpu_check.sh: expected the program at {check.programs.braid}, found none", file=sys.stderr)
        return 2
    end = time.monotonic() + 60 * options.minutes
    if not check.facts():
        print("gpu_check.sh: expected a GPU, found none; facts.txt says what was found", file=sys.stderr)
        return 2
    left = [stage for stage in SHARES if not options.stages or stage in options.stages]
    for position, name in enumerate(left):
        share = SHARES[name] / sum(SHARES[stage] for stage in left[position:])
        if name == "facts":
            check.record(Result("facts", "doctor", "passed"))
            continue
        check.stage(name, (end - time.monotonic()) * share)
        (check.out / "table.txt").write_text(check.table(), encoding="utf-8")
    table = check.table()
    (check.out / "table.txt").write_text(table, encoding="utf-8")
    print(table, end="", flush=True)
    outcomes = {result.outcome for result in check.results}
    return 1 if "failed" in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
