#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""What `braid config` promises: exit codes, one clear message on stderr, honest parameter counts. docs/config.md has
the keys."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

BRAID = os.environ["BRAID"]
CONFIGS = pathlib.Path(os.environ["BRAID_SOURCE_DIR"]) / "configs"
TWIN = str(CONFIGS / "twins" / "qwen3-next.yaml")

# The published Qwen3-Next-80B-A3B and OLMo 2 7B; their counts are those of the released weights, without prediction
# heads for further tokens.
QWEN3_NEXT = """
model:
  vocab_size: 151936
  hidden_size: 2048
  num_layers: 48
  pattern: "(gdn+moe)*3, attn+moe"
  norm: {zero_centered: true}
  sublayers:
    gdn: {type: gated_delta_net, num_key_heads: 16, num_value_heads: 32, key_head_dim: 128, value_head_dim: 128}
    attn: {type: attention, num_heads: 16, num_kv_heads: 2, head_dim: 256, qk_norm: per_head, gate: elementwise,
           rope: {theta: 1.0e+7, fraction: 0.25}}
    moe: {type: moe, num_experts: 512, experts_per_token: 10, expert_size: 512, shared_size: 512, shared_gate: true}
train: {steps: 1, sequence_length: 4096, global_batch: 1}
data: {train: [{path: none.h5}]}
"""
OLMO2 = """
model:
  vocab_size: 100352
  hidden_size: 4096
  num_layers: 32
  pattern: attn+mlp
  norm: {placement: post}
  sublayers:
    attn: {type: attention, num_heads: 32, head_dim: 128, qk_norm: full, rope: {theta: 500000}}
    mlp: {type: mlp, size: 11008}
train: {steps: 1, sequence_length: 4096, global_batch: 1}
data: {train: [{path: none.h5}]}
"""


def braid(*arguments, **keywords):
    # The limit ends a hang only; nothing is judged by time.
    done = subprocess.run([BRAID, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False, **keywords)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class ConfigCommand(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def write(self, text, name="run.yaml"):
        path = os.path.join(self.folder.name, name)
        pathlib.Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def counts(self, text, *overrides):
        code, out, err = braid("config", "show", self.write(text), *overrides)
        self.assertEqual((code, err), (0, ""))
        with_total = [line for line in out.splitlines() if "total" in line]
        self.assertEqual(len(with_total), 1)
        total = re.fullmatch(r"total_parameters: (\d+)", with_total[0])
        active = re.findall(r"^active_parameters: (\d+)$", out, re.MULTILINE)
        self.assertEqual(len(active), 1)
        return int(total[1]), int(active[0])

    def test_version(self):
        code, out, err = braid("--version")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\Abraid \d+\.\d+\.\d+, commit ([0-9a-f]{40}(-dirty)?|unknown), \w+ build by \S.* for "
                              r"\S+\n\Z")

    def test_counts_of_published_models(self):
        self.assertEqual(self.counts(QWEN3_NEXT), (79_674_391_296, 3_874_929_408))
        self.assertEqual(self.counts(OLMO2), (7_298_617_344, 7_298_617_344))

    def test_table_shows_each_layer_with_its_formula(self):
        code, out, err = braid("config", "show", TWIN, "model.norm.placement=sandwich",
                               "model.residual.branch_scale=0.5", "model.sublayers.moe.norm.placement=residual_post",
                               "model.sublayers.spare={type: mlp, size: 8}")
        self.assertEqual((code, err), (0, ""))
        rows = [line.split() for line in out.splitlines() if re.match(r" +\d+  ", line)]
        self.assertEqual([row[:3] for row in rows[:2]], [["0", "gdn", "gated_delta_net"], ["0", "moe", "moe"]])
        self.assertEqual([row[0] for row in rows], [str(i // 2) for i in range(16)])
        self.assertEqual([row[1] for row in rows[::2]], ["gdn", "gdn", "gdn", "attn"] * 2)
        self.assertIn("x + 0.5 N2(F(N1(x)))", out)
        self.assertIn("N(x + 0.5 F(x))", out)
        self.assertIn("in no layer: spare", out)

    def test_tensors_list_shape_role_deviation_decay_and_scale(self):
        code, out, err = braid("config", "show", TWIN, "--tensors",
                               "optimizer.groups=[{role: router, lr_scale: 0.5, weight_decay: 0.25}]")
        self.assertEqual((code, err), (0, ""))
        lines = [re.split(r" {2,}", line) for line in out[out.index("\ntensor  "):].splitlines()[2:]]
        self.assertTrue(all(len(line) == 7 for line in lines), lines)
        routers = [line for line in lines if line[2] == "router"]
        self.assertEqual(len(routers), 8)
        for line in routers:
            self.assertEqual([line[1].replace(" ", ""), *line[4:]], ["[16,96]", "0.25", "0.5", "adamw"])
        self.assertTrue(all(line[4] == "0" for line in lines if line[2] in ("norm", "bias", "recurrent")))
        self.assertTrue(any(line[2] == "matrix" and line[3] == "0.02" and line[4] == "0.1" for line in lines))

    def test_tensors_list_the_matrices_of_muon(self):
        code, out, err = braid("config", "show", TWIN, "--tensors", "optimizer.type=muon",
                               "optimizer.groups=[{name: layers.1.*, muon: false}]")
        self.assertEqual((code, err), (0, ""))
        lines = [re.split(r" {2,}", line) for line in out[out.index("\ntensor  "):].splitlines()[2:]]
        updated_by = {line[0]: line[6] for line in lines}
        self.assertEqual(updated_by["embedding.weight"], "adamw")
        self.assertEqual(updated_by["layers.1.gdn.q.weight"], "adamw")
        for name in ("layers.0.gdn.a.weight", "layers.0.moe.router.weight", "layers.0.moe.shared_gate.weight"):
            self.assertEqual(updated_by[name], "adamw", name)
        shapes = {line[0]: eval(line[1]) for line in lines}
        for name, matrices in updated_by.items():
            if matrices == "adamw":
                continue
            count, rows, columns = map(int, re.fullmatch(r"muon:(\d+)x\[(\d+), (\d+)\]", matrices).groups())
            elements = 1
            for size in shapes[name]:
                elements *= size
            self.assertEqual(count * rows * columns, elements, name)

    def test_check_and_diff(self):
        self.assertEqual(braid("config", "check", TWIN, "--without-data")[0], 0)
        other = self.write(f"extends: {TWIN}\noptimizer: {{lr: 0.001}}\nlog: {{every: 7}}\n")
        code, out, _ = braid("config", "diff", TWIN, other)
        self.assertEqual(code, 0)
        self.assertIn("* optimizer.lr: 0.003 -> 0.001\n", out)
        self.assertIn("  log.every: 1 -> 7\n", out)

    def test_diff_shows_the_sizes_of_both_models(self):
        wide = self.write(f"extends: {TWIN}\nmodel: {{hidden_size: 192}}\n")
        code, out, _ = braid("config", "diff", TWIN, wide)
        self.assertEqual(code, 0)
        for path, column in ((TWIN, 0), (wide, 1)):
            shown = braid("config", "show", path)[1]
            for key in ("total_parameters", "active_parameters"):
                count = re.search(rf"^{key}: (\d+)$", shown, re.MULTILINE)[1]
                self.assertEqual(re.search(rf"^  {key}: (\d+) -> (\d+)$", out, re.MULTILINE).groups()[column], count)
        flops = [int(n) for n in re.search(r"^  flops_per_token: (\d+) -> (\d+)$", out, re.MULTILINE).groups()]
        self.assertGreater(flops[1], flops[0])

    def test_the_ablation_of_the_readme_changes_the_ratio_and_not_the_size(self):
        readme = (CONFIGS.parent / "README.md").read_text()
        name, override = re.search(r"^ +braid train (configs/\S+) name=\S+ (model\.pattern=)(\S[^#]*?) *#", readme,
                                   re.MULTILINE).group(1, 3)
        base = str(CONFIGS.parent / name)
        code, out, err = braid("config", "check", base, "model.pattern=" + override.strip('"'), "--without-data")
        self.assertEqual((code, err), (0, ""))
        other = self.write(f"extends: {base}\nmodel: {{pattern: {override}}}\n")
        out = braid("config", "diff", base, other)[1]
        before, after = map(int, re.search(r"  total_parameters: (\d+) -> (\d+)", out).groups())
        self.assertLess(abs(after / before - 1), 0.01)

    def test_check_finds_all_that_train_refuses(self):
        lonely = "optimizer.groups=[{role: bias, lr_scale: 1}, {name: nothing, lr_scale: 1}]"
        code, out, err = braid("config", "check", TWIN, "parallel.tensor=3", lonely, "model.norm.type=rmsnorm",
                               cwd=self.folder.name)
        self.assertEqual((code, out), (2, ""))
        self.assertIn("did you mean rms?", err)
        self.assertIn(".h5: cannot open", err)
        code, out, err = braid("config", "check", TWIN, "parallel.tensor=3", lonely, cwd=self.folder.name)
        self.assertEqual((code, out), (2, ""))
        for part in ("num_key_heads: 2 cannot be shared out", "groups[0]: matches no", "groups[1]: matches no",
                     ".h5: cannot open"):
            self.assertIn(part, err)
        code, out, err = braid("config", "check", TWIN, cwd=self.folder.name)
        self.assertEqual((code, out), (3, ""))
        self.assertIn(".h5: cannot open", err)
        batch = ["train.global_batch=2", "train.micro_batch=1", "--without-data"]
        self.assertEqual(braid("config", "check", TWIN, *batch)[0], 0)
        code, _, err = braid("config", "check", TWIN, *batch, "--ranks", "4")
        self.assertEqual(code, 2)
        self.assertIn("2 sequences cannot feed 4 data ranks", err)

    def test_check_warns_of_a_router_without_gradient(self):
        code, out, err = braid("config", "check", TWIN, "--without-data", "model.sublayers.moe.experts_per_token=1")
        self.assertEqual(code, 0)
        self.assertIn(": ok, run ", out)
        self.assertEqual(err.count("warning: model.sublayers.moe.router.normalize: "), 1, err)

    def test_sections_left_out_are_named(self):
        code, _, err = braid("config", "check", self.write("name: x\n"))
        self.assertEqual(code, 2)
        for section in ("model", "train", "data"):
            self.assertRegex(err, rf": {section}: required, and left out, for example {{")
        self.assertEqual(err.count("\n"), 3, err)

    def test_values_and_shapes_are_suggested(self):
        for override, message in {
                "model.sublayers.gdn.type=deltanet": "did you mean gated_delta_net?",
                "model.sublayers.gdn.type=Gated-DeltaNet": "did you mean gated_delta_net?",
                "model.norm.type=rmsnorm": "did you mean rms?",
                "model.norm.placement=pre-norm": "did you mean pre?",
                "model.norm.placement=peri": "did you mean sandwich?",
                "train.precision=fp16": "did you mean bf16?",
                "train.precision=float32": "did you mean f32?",
                "train.device=gpu": "did you mean cuda?",
                "train.steps=1e3": "did you mean 1000?",
                "optimizer.type=adam": "did you mean adamw?",
                "optimizer.name=adamw": "did you mean optimizer.type?",
                "optimizer.betas=0.9": "for example [0.9, 0.95], found 0.9",
                "optimizer.groups=router": "for example [{role: router, lr_scale: 0.5}], found router",
                "data.train=a.h5": "for example [{path: train.h5}], found a.h5",
                "data.validation=a.h5": "for example {web: {path: valid.h5}}, found a.h5",
                "model.norm=rmsnorm": "for example {type: rms, placement: pre}, found rmsnorm",
                "model.sublayers.gdn=attention": "for example {type: mlp, size: 512}, found attention",
                "log.tensorboard=yes": "did you mean true?"}.items():
            code, _, err = braid("config", "check", TWIN, override, "--without-data")
            self.assertEqual(code, 2, override)
            self.assertIn(message, err)

    def test_a_pattern_that_changes_the_depth_is_said(self):
        text = pathlib.Path(TWIN).read_text().replace("num_layers: 8", "")
        path = self.write(text)
        code, _, err = braid("config", "check", path, "--without-data", "model.pattern=attn+moe")
        self.assertEqual(code, 0)
        self.assertIn("has 4 layer(s), with the override 1;", err)
        self.assertIn("model.num_layers=4", err)
        self.assertEqual(braid("config", "check", path, "--without-data")[2], "")

    def test_keys_are_one_line_each(self):
        code, out, _ = braid("config", "keys")
        self.assertEqual(code, 0)
        self.assertTrue(any(line.startswith("model.norm.placement ") for line in out.splitlines()))

    def test_shipped_configs_are_what_pyyaml_reads(self):
        files = [path for path in CONFIGS.rglob("*.yaml") if "sweeps" not in path.parts]
        self.assertGreaterEqual(len(files), 5)
        for path in files:
            self.assertEqual(braid("config", "check", str(path), "--without-data")[0], 0, path)
            self.assertIsInstance(yaml.safe_load(path.read_text()), dict)

    def test_faults_exit_2_with_one_message(self):
        good = pathlib.Path(TWIN).read_text()
        cases = {
            b"[" * 100_000: "nest more than 32 deep",
            good.replace("lr: 3.0e-3", "lr: nan"): "optimizer.lr: expected a number",
            good.replace("num_layers: 8", "num_layers: 9"): "nearest: 8 or 12",
            good.replace("seed: 1234", "seed: &a 1234"): "anchors",
            good.replace("hidden_size", "hiddn_size"): "did you mean model.hidden_size?",
            good.replace("hidden_size: 96", "hidden_size: 999999999999999999999"): "model.hidden_size: expected",
            "": "expected a map of keys, found nothing",
        }
        for text, message in cases.items():
            for command in ("check", "show"):
                path = self.write(text)
                code, out, err = braid("config", command, path, *(["--without-data"] if command == "check" else []))
                self.assertEqual((code, out), (2, ""), err)
                self.assertIn(message, err)
                self.assertIn(path, err)
                self.assertEqual(err.count("\n"), 1 if "hiddn" not in str(text) else 2, err)
        self.assertEqual(braid("config", "check", self.folder.name + "/none.yaml")[0], 2)
        self.assertEqual(braid("config", "check", TWIN, "nonsense")[0], 2)

    def test_usage(self):
        for arguments in ((), ("config",), ("nothing",), ("config", "check"), ("config", "show", TWIN, "--nothing")):
            code, _, err = braid(*arguments)
            self.assertEqual(code, 2, arguments)
            self.assertNotEqual(err, "")
        for arguments, message in ((("confg",), "unknown command confg; did you mean config?"),
                                   (("config", "chekc"), "braid config: unknown command chekc; did you mean check?"),
                                   (("config", "show", TWIN, "--tensor"), "did you mean --tensors?")):
            code, _, err = braid(*arguments)
            self.assertEqual(code, 2, arguments)
            self.assertIn(message, err)
        for command in ((), ("config",), ("config", "show"), ("config", "keys")):
            arguments = (*command, "--help")
            code, out, err = braid(*arguments)
            self.assertEqual((code, err), (0, ""), arguments)
            self.assertIn("Usage", out)


if __name__ == "__main__":
    unittest.main(verbosity=1)
