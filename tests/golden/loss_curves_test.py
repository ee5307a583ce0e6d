#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""Twenty steps of the configs beside this file give the losses and gradient norms of the curves NAME.json.

A change that is meant to change numbers commits new curves, and says in its message why they are new:

    tests/golden/loss_curves_test.py --write

With KEY=VALUE... instead, every run gets these overrides, which shows what a key does to the curves."""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BRAID = os.path.abspath(os.environ.get("BRAID", ROOT / "build" / "cpu" / "braid"))
BRAID_MPIRUN = os.path.abspath(os.environ.get("BRAID_MPIRUN", ROOT / "launch" / "braid-mpirun"))

# Ranks of each config (0: no launcher) and its curve. A layout changes no number, so it has none of its own.
RUNS = {"adamw": (0, "adamw"), "post": (0, "post"), "muon": (0, "muon"), "layout": (2, "adamw")}
FIELDS = ("loss", "aux_loss", "grad_norm", "eval_loss")
NUM_STEPS = 20

# What a found number may differ by. BLAS, Highway and the C library choose kernels by processor, which add in
# another order. So every operation is off by a rounding, and each step makes more of what those before it were off
# by. How much more is a property of the curve. Constants of the model give no useful bound (an update changes by up
# to lr / eps = 40 times its gradient's change, Newton-Schulz steps stretch small singular values by 3.44^5), so
# --write measures it: the same run in f32 rounds in the same places, 2^29 times as coarsely, and small errors add
# up linearly. `f32_error` in a curve is how far the f32 run is off at this step, relative, in its worst field. Two
# f64 runs differ by 2^-29 of that, but for three factors:
#   2  both of them are off, where f32 was held against what is nearly exact;
#   8  they may add 8 times as many numbers one after the other, as vectors have 2 elements (f64 in SSE2) and not 16
#      (f32 in AVX-512), and the error of a sum grows at most in proportion;
#   4  f32_error is one draw of a random number, and can be small by chance at one step and in one field. So the
#      largest of all fields so far counts, never less than one rounding, 2^-24, and this much more.
# Their product is 2^6, which makes bounds of 7e-15 to 2e-13 of a number. With the kernels for Haswell, Zen,
# SkylakeX, Sandybridge and Nehalem, and with Highway's for AVX2, the worst error was 0.1 of its bound. An
# initialisation off by 1e-6 exceeds it 1e7 times, a learning rate off by 1e-4 or an eps of norms of 2e-6 more.
# A token on the edge between two experts goes to the other one by a small error, which is not linear. In 2 of 10
# f32 runs one of the 38,000 choices was that close; in f64 it is 2^29 times less likely. Where it happens in f32,
# the loss is off by 1e-6 from there on, which would only make the bounds too wide: --write refuses such a seed.
SPREAD = 2**6
F32_TO_F64 = 2.0**-29
ONE_ROUNDING_IN_F32 = 2.0**-24


def bounds_of(curve):
    """The relative bound of each step of a curve."""
    largest, bounds = ONE_ROUNDING_IN_F32, []
    for line in curve:
        largest = max(largest, line["f32_error"])
        bounds.append(SPREAD * F32_TO_F64 * largest)
    return bounds


def compare(config, curve, found):
    """Returns (what differs, one text each; the worst error of a number over its bound, with its place)."""
    problems, worst = [], (0.0, "none")
    if len(found) != len(curve):
        problems.append(f"{config}: expected {len(curve)} steps, found {len(found)}")
    for expected, line, bound in zip(curve, found, bounds_of(curve)):
        for field in ("step", *FIELDS):
            place = f"{config}, step {expected['step']}, {field}"
            a, b = expected.get(field), line.get(field)
            if a is None or b is None:
                if a is not b:
                    problems.append(f"{place}: expected {a}, found {b}")
                continue
            difference, allowed = abs(a - b), bound * abs(a)
            worst = max(worst, (difference / allowed, place), key=lambda pair: pair[0])
            if not difference <= allowed:   # so that NaN is one
                problems.append(f"{place}: expected {a!r}, found {b!r}, difference {difference:.3g}, "
                                f"bound {allowed:.3g}")
    return problems, worst


def check_comparison(curves):
    """A number off by twice its bound is seen in every field, and one off by half of it is not."""
    for name, curve in curves.items():
        assert [line["step"] for line in curve] == list(range(1, NUM_STEPS + 1)), f"{name}.json lacks steps"
        assert all(field in curve[-1] for field in FIELDS), f"{name}.json lacks fields in its last step"
        assert not compare(name, curve, curve)[0]
        for index, bound in ((0, bounds_of(curve)[0]), (NUM_STEPS - 1, bounds_of(curve)[-1])):
            for field in FIELDS:
                if field not in curve[index]:
                    continue
                for factor, seen in ((1 + 2 * bound, 1), (1 - 2 * bound, 1), (1 + bound / 2, 0), (math.nan, 1)):
                    found = [dict(line) for line in curve]
                    found[index][field] *= factor
                    problems, _ = compare(name, curve, found)
                    assert len(problems) == seen, f"{name}, step {index + 1}, {field} x {factor!r}: {problems}"
                    assert not seen or f"{name}, step {index + 1}, {field}: expected" in problems[0]
                found = [dict(line) for line in curve]
                del found[index][field]
                assert len(compare(name, curve, found)[0]) == 1, f"{name}, step {index + 1}, no {field}"
        assert len(compare(name, curve, curve[:-1])[0]) == 1


def run(folder, *command):
    done = subprocess.run(command, cwd=folder, env=dict(os.environ, OMP_NUM_THREADS="1"), timeout=120,
                          capture_output=True, text=True, errors="surrogateescape", check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\nexit code {done.returncode}\n{done.stdout[-2000:]}\n"
                 f"{done.stderr[-2000:]}")


def make_data(folder):
    """Documents of up to 30 of 5 words, the same everywhere and always."""
    words, state = ("alpha", "beta", "gamma", "delta", "epsilon"), 1

    def draw(count):   # the generator of the C standard's example of rand()
        nonlocal state
        state = (state * 1103515245 + 12345) % 2**31
        return (state >> 16) % count

    texts = [" ".join(words[draw(5)] for _ in range(1 + draw(30))) for _ in range(300)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "text.jsonl").write_text(lines, encoding="utf-8")
    run(folder, BRAID, "data", "build", "text.jsonl", "-o", "train.h5", "--validation", "valid.h5",
        "--validation-fraction", "0.1")


def train(folder, config, name, *overrides):
    """The metrics of a run, one map a step."""
    ranks, _ = RUNS[config]
    launcher = [BRAID_MPIRUN, "-n", str(ranks)] if ranks else []
    run(folder, *launcher, BRAID, "train", HERE / f"{config}.yaml", f"name={name}", *overrides)
    with open(folder / "runs" / name / "metrics.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_curve(folder, config):
    exact, rounded = train(folder, config, config), train(folder, config, f"{config}-f32", "train.precision=f32")
    lines = []
    for a, b in zip(exact, rounded, strict=True):
        errors = {field: abs(a[field] - b[field]) / abs(a[field]) for field in FIELDS if field in a}
        if max(errors["loss"], errors.get("eval_loss", 0)) > 2 * ONE_ROUNDING_IN_F32 or any(
                a[load] != b[load] for load in ("expert_load_max", "expert_load_min")):
            sys.exit(f"{config}, step {a['step']}: f32 sends a token to another expert, relative errors {errors}; "
                     "choose another seed")
        line = {field: a[field] for field in ("step", *FIELDS) if field in a}
        lines.append(json.dumps(line | {"f32_error": float(f"{max(errors.values()):.1e}")}))
    (HERE / f"{config}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def main(arguments):
    names = sorted({curve for _, curve in RUNS.values()})
    with tempfile.TemporaryDirectory(prefix="braid-test-") as temporary:
        folder = pathlib.Path(temporary)
        make_data(folder)
        if arguments == ["--write"]:
            for config in names:
                write_curve(folder, config)
            return 0
        curves = {name: json.loads((HERE / f"{name}.json").read_text(encoding="utf-8")) for name in names}
        check_comparison(curves)
        num_problems = 0
        for config, (_, curve) in RUNS.items():
            problems, (error, place) = compare(config, curves[curve], train(folder, config, config, *arguments))
            print(f"{config}: {len(problems)} differences; the worst error is {error:.2g} of its bound ({place})")
            print("".join(f"    {problem}\n" for problem in problems[:10]), end="")
            num_problems += len(problems)
        # A change as small as this must be seen in what is trained, too.
        if not arguments:
            changed = train(folder, "adamw", "changed", "optimizer.lr=4.000000004e-3", "train.stop_at=3")
            problems, _ = compare("changed", curves["adamw"][:3], changed)
            assert any("step 3, loss" in problem for problem in problems), "lr x (1 + 1e-9) went unnoticed"
        return 1 if num_problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
