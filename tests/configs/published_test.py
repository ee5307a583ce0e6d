#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""Every file of configs/published is the model it names: its parameters, total and active, are those that the numbers
of the released config.json give, its sublayers come in the released order, and the sizes that the release prints are
these parameters rounded, or there is a reason why not."""

import os
import pathlib
import re
import subprocess
import unittest

from published_models import MODELS, Printed

BRAID = os.environ["BRAID"]
ROOT = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])
FOLDER = ROOT / "configs" / "published"
LETTERS = {"M": "mamba2", "*": "attention", "E": "moe", "-": "mlp"}
KINDS = {"conv": "short_conv", "linear_attention": "gated_delta_net", "full_attention": "attention"}


def braid(*arguments):
    # The limit ends a hang only; nothing is judged by time.
    done = subprocess.run([BRAID, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)
    return done.returncode, done.stdout, done.stderr


def released_sublayers(config):
    """The types of all sublayers from the first on, as the release orders them."""
    if "hybrid_override_pattern" in config:
        return [LETTERS[letter] for letter in config["hybrid_override_pattern"]]
    layers = range(config.get("num_hidden_layers") or len(config["layer_types"]))
    if "layer_types" in config:
        mixers = [KINDS[kind] for kind in config["layer_types"]]
    elif "full_attention_interval" in config:
        interval = config["full_attention_interval"]
        mixers = ["attention" if (layer + 1) % interval == 0 else "gated_delta_net" for layer in layers]
    elif "gqa_interval" in config:
        mixers = ["kimi_delta" if layer % (config["gqa_interval"] + 1) else "attention" for layer in layers]
    elif "full_attn_layers" in config.get("linear_attn_config", {}):   # counted from 1
        full = config["linear_attn_config"]["full_attn_layers"]
        mixers = ["mla" if layer + 1 in full else "kimi_delta" for layer in layers]
    else:
        mixers = ["mla" if "kv_lora_rank" in config else "attention" for _ in layers]
    dense = config.get("num_dense_layers") or config.get("first_k_dense_replace") or 0
    if not {"num_experts_per_tok", "num_experts_per_token"} & set(config):
        dense = len(mixers)
    return [kind for layer in layers for kind in (mixers[layer], "mlp" if layer < dense else "moe")]


class Rounding(unittest.TestCase):
    def test_a_size_is_held_to_its_last_digit(self):
        cases = (("8.0B", "1", 8_030_261_248, True), ("8.1B", "1", 8_030_261_248, False),
                 ("230B", "10", 228_689_748_992, True), ("230B", "1", 228_689_748_992, False),
                 ("350M", "10", 354_483_968, True), ("14B", "1", 14_659_507_200, False))
        for size, step, parameters, expected in cases:
            with self.subTest(size=size, step=step):
                self.assertEqual(Printed(size, step=step).rounds_to_it(parameters), expected)


class Published(unittest.TestCase):
    def test_every_file_has_its_numbers(self):
        self.assertEqual(sorted(MODELS), sorted(path.stem for path in FOLDER.glob("*.yaml")))
        self.assertTrue(MODELS)

    def test_parameters_and_sublayers_are_those_of_the_release(self):
        for name, released in MODELS.items():
            with self.subTest(model=name):
                code, out, err = braid("config", "show", str(FOLDER / f"{name}.yaml"))
                self.assertEqual((code, err), (0, ""))
                counts = [int(number) for number in re.findall(r"^(?:total|active)_parameters: (\d+)$", out, re.M)]
                count = released.count()
                self.assertEqual(counts, [count.total, count.active])
                types = re.findall(r"^ *\d+  \S+ +(\S+) ", out, re.M)
                self.assertEqual(types, released_sublayers(released.config))

    def test_printed_sizes_are_the_parameters_rounded(self):
        for name, released in MODELS.items():
            count = released.count()
            sizes = [(released.total, count.total)] + ([(released.active, count.active)] if released.active else [])
            for printed, counted in sizes:
                with self.subTest(model=name, printed=printed.size):
                    rounded = printed.rounds_to_it(printed.of_count(counted, count))
                    self.assertEqual(rounded, not printed.reason)   # a reason for a size that fits explains nothing
            self.assertEqual(count.total == count.active, released.active is None, name)

    def test_every_file_states_its_parameters_and_source(self):
        for name, released in MODELS.items():
            with self.subTest(model=name):
                text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
                comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("# "))
                count = released.count()
                for number in {count.total, count.active}:
                    self.assertIn(f"{number:,}", comment)
                for printed in filter(None, (released.total, released.active)):
                    self.assertIn(printed.size, comment)
                for word in ("Source: ", "Left out: "):
                    self.assertIn(word, comment)
                self.assertIn(f"\nname: {name}\n", text)

    def test_the_documentation_has_a_row_for_every_file(self):
        rows = [line for line in (ROOT / "docs" / "architectures.md").read_text(encoding="utf-8").splitlines()
                if "(../configs/published/" in line]
        self.assertEqual(len(rows), len(MODELS))
        for name, released in MODELS.items():
            with self.subTest(model=name):
                row, = [line for line in rows if f"[{name}](../configs/published/{name}.yaml)" in line]
                count = released.count()
                for parameters in {count.total, count.active}:
                    size = f"{parameters / 1e9:.2f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"
                    self.assertIn(f" {size}", row)

    def test_every_file_is_without_fault(self):
        for name in MODELS:
            with self.subTest(model=name):
                code, _, err = braid("config", "check", str(FOLDER / f"{name}.yaml"), "--without-data")
                self.assertEqual((code, err), (0, ""))


if __name__ == "__main__":
    unittest.main()
