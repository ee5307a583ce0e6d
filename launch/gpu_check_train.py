#!/usr/bin/env python3
"""A training of launch/gpu_check.sh: the quickstart's model on Braid's own documentation, on the CPU and on the GPU.

    gpu_check_train.py BRAID OUT [--small]

The first steps run on the CPU in f32, on the GPU in f32, and on the GPU in bf16, and their losses are compared. Another
in bf16 goes on for most of what BRAID_CHECK_SECONDS leaves, is stopped by a signal, and resumed. OUT/curves.json gets
the losses of all. --small is for an emulated GPU. Exit code 0 when all went as it should.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Of a loss after some steps against the CPU's in f32: rounding of 2^-24 (2^-8 in bf16, in products only) in some
# hundred sums of a step, which the steps after it stretch.
BOUNDS = {"f32": 1e-3, "bf16": 3e-2}
STOPPED_BY_SIGNAL = 75
SMALL = ("train.sequence_length=16", "train.global_batch=1", "train.micro_batch=1", "eval.every=0",
         "eval.at_start=false", "model.hidden_size=32", "model.sublayers.gdn.num_key_heads=1",
         "model.sublayers.gdn.num_value_heads=1", "model.sublayers.moe.expert_size=16",
         "model.sublayers.moe.shared_size=16")


class Training:
    def __init__(self, braid, folder, small):
        self.braid, self.folder = braid, folder
        self.steps = 2 if small else 20
        self.more = SMALL if small else ()
        # By name: a fraction holds documents out by their hash, and of so few it may hold out none.
        text = sorted(str(path) for path in (ROOT / "docs").glob("*.md"))
        held_out = str(ROOT / "docs" / "data.md")
        self.run("data", "build", *(path for path in text if path != held_out), "-o", "train.h5")
        self.run("data", "build", held_out, "-o", "valid.h5")

    def run(self, *arguments, expect=0, stop_after=None):
        process = subprocess.Popen([self.braid, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            text = process.communicate(timeout=stop_after)[0]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            text = process.communicate(timeout=120)[0]
        if process.returncode != expect:
            sys.exit(f"braid {' '.join(arguments)}: exit code {process.returncode}, expected {expect}\n"
                     f"{text.decode(errors='replace')[-4000:]}")

    def train(self, name, device, precision, *arguments, **options):
        self.run("train", str(ROOT / "configs/quickstart.yaml"), f"name={name}", f"train.device={device}",
                 f"train.precision={precision}", "data.train=[{path: train.h5}]",
                 "data.validation.dictionary.path=valid.h5", "checkpoint.every=0", *self.more, *arguments, **options)

    def losses(self, name):
        lines = (self.folder / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def main(braid, out, small):
    start, budget = time.monotonic(), float(os.environ.get("BRAID_CHECK_SECONDS", "300"))
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        training = Training(braid, pathlib.Path(folder), small)
        first = f"train.stop_at={training.steps}"
        training.train("cpu", "cpu", "f32", first)
        training.train("f32", "cuda", "f32", first)
        training.train("bf16", "cuda", "bf16", first)
        expected, failed = training.losses("cpu"), False
        for name, bound in BOUNDS.items():
            worst = max(abs(x / y - 1) for x, y in zip(training.losses(name), expected, strict=True))
            print(f"{name} on the GPU: {len(expected)} losses off by at most {worst:.2e} of the CPU's, bound {bound:g}")
            failed = failed or not worst <= bound
        # The signal is to come before the last step: there are more than any GPU takes in that time.
        steps = 100_000
        left = 5 if small else max(10, 0.6 * (budget - (time.monotonic() - start)))
        long = (f"train.steps={steps}", "log.every=1", "eval.every=0",
                "optimizer.schedule.type=constant", "optimizer.schedule.min_lr=null")
        training.train("long", "cuda", "bf16", *long, expect=STOPPED_BY_SIGNAL, stop_after=left)
        done = len(training.losses("long"))
        training.train("long", "cuda", "bf16", *long, f"train.stop_at={done + 2}")
        curve = training.losses("long")
        print(f"bf16 on the GPU: {done} steps in {left:.0f} s from start to end; loss {curve[0]:.4f} to "
              f"{curve[-1]:.4f}; stopped by SIGTERM and resumed to step {len(curve)}")
        failed = failed or len(curve) != done + 2 or not (small or curve[-1] < curve[0])
        (pathlib.Path(out) / "curves.json").write_text(json.dumps(
            {name: training.losses(name) for name in ("cpu", "f32", "bf16", "long")}), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], "--small" in sys.argv[3:]))
