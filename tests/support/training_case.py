"""A folder with a small data set and run file, and the built program to train in it."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

BRAID = os.environ["BRAID"]
BRAID_MPIRUN = os.environ["BRAID_MPIRUN"]

BASE = """\
name: base
seed: 5
model:
  vocab_size: 256
  hidden_size: 16
  pattern: "gdn+moe, attn+moe"
  sublayers:
    gdn: {type: gated_delta_net, num_key_heads: 1, num_value_heads: 2, key_head_dim: 8, value_head_dim: 8}
    attn: {type: attention, num_heads: 2, num_kv_heads: 1, head_dim: 8, qk_norm: per_head, gate: elementwise,
           rope: {theta: 10000, fraction: 0.5}}
    moe: {type: moe, num_experts: 4, experts_per_token: 2, expert_size: 8, shared_size: 8, shared_gate: true,
          router: {aux_loss: 1.0e-2, aux_scope: global, bias_update_rate: 1.0e-3}}
train: {steps: 100, sequence_length: 32, global_batch: 3, micro_batch: 2}
optimizer: {lr: 3.0e-3, schedule: {type: cosine, warmup_steps: 5, min_lr: 3.0e-4}}
data: {train: [{path: train.h5}], validation: {held: {path: valid.h5}}}
checkpoint: {every: 50, keep: 3}
eval: {every: 50, tokens: 512}
"""


def exit_codes(ranks, *arguments, folder=None):
    """What each rank of `braid ARGUMENTS` ends with under the launcher, which itself tells one code only."""
    # mpirun kills the other ranks as soon as one ends with a code other than 0, so these end with 0.
    script = '"$BRAID" "$@"; echo $? > "$CODES.$OMPI_COMM_WORLD_RANK"'
    with tempfile.TemporaryDirectory() as codes:
        prefix = os.path.join(codes, "code")
        subprocess.run([BRAID_MPIRUN, "-n", str(ranks), "bash", "-c", script, "rank", *arguments], cwd=folder or codes,
                       env=dict(os.environ, CODES=prefix), timeout=60, capture_output=True, check=True)
        return [int(pathlib.Path(f"{prefix}.{rank}").read_text(encoding="utf-8")) for rank in range(ranks)]


def expect_prompt(case, seconds, ranks):
    """A launch that took `seconds` kept to the five that are promised, or a busy machine is slow to start any ranks."""
    if seconds < 5:
        return
    start = time.monotonic()
    program = os.path.join(os.environ["BRAID_BINARY_DIR"], "tests", "rank_behaviour")
    subprocess.run([BRAID_MPIRUN, "-n", str(ranks), program, "exit", "0"], timeout=120, capture_output=True, check=True)
    case.assertLess(seconds - (time.monotonic() - start), 5, "beyond what ranks take that do nothing")


def skip_without_gpu():
    """Ends a test program, counted as skipped, where the built program finds no GPU; first in its main."""
    # A GPU is looked for before the checkpoint.
    command = [BRAID, "generate", "no checkpoint", "--prompt", "a", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "expected a GPU" in done.stderr and "found 0" in done.stderr:
        print("no GPU")
        sys.exit(77)


class TrainingCase(unittest.TestCase):
    def setUp(self):
        folder = tempfile.mkdtemp(prefix="braid-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.folder = pathlib.Path(folder)
        self.environment = dict(os.environ, OMP_NUM_THREADS="1")
        (self.folder / "base.yaml").write_text(BASE, encoding="utf-8")
        chosen = random.Random(3)
        words = ["alpha", "beta", "gamma", "delta", "epsilon"]
        lines = [json.dumps({"text": " ".join(chosen.choices(words, k=chosen.randint(1, 30)))}) for _ in range(300)]
        (self.folder / "text.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.run_command(BRAID, "data", "build", "text.jsonl", "-o", "train.h5", "--validation", "valid.h5",
                         "--validation-fraction", "0.1")

    def run_command(self, *command, expect=0, timeout=120):
        """Runs a command in the folder and returns (standard output, standard error)."""
        done = subprocess.run(command, cwd=self.folder, env=self.environment, timeout=timeout, capture_output=True,
                              text=True, errors="surrogateescape", check=False)
        said = f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        self.assertEqual(done.returncode, expect, said)
        return done.stdout, done.stderr

    def braid(self, *arguments, ranks=0, expect=0):
        """Runs braid alone, or with ranks > 0 under the launcher; returns (standard output, standard error)."""
        launcher = [BRAID_MPIRUN, "-n", str(ranks)] if ranks else []
        return self.run_command(*launcher, BRAID, *arguments, expect=expect)

    def train(self, name, *arguments, ranks=0, expect=0):
        return self.braid("train", "base.yaml", f"name={name}", *arguments, ranks=ranks, expect=expect)

    def rank_processes(self, name):
        """The processes that train this run of this folder: another copy of the tests has runs of the same name."""
        found = subprocess.run(["pgrep", "-f", f"name={name}"], capture_output=True, text=True, check=False).stdout
        # By name only: in a bundle BRAID is a script that starts another file.
        wanted, pids = ("braid", os.path.realpath(self.folder)), []
        for pid in map(int, found.split()):
            try:
                exe, cwd = os.readlink(f"/proc/{pid}/exe"), os.readlink(f"/proc/{pid}/cwd")
                if (os.path.basename(exe), cwd) == wanted:
                    pids.append(pid)
            except OSError:  # it has ended, or is another user's
                pass
        return pids

    def metrics(self, name):
        with open(self.folder / "runs" / name / "metrics.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]
