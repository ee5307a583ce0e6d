#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""Tasks and prompts in training: their numbers are those of `braid eval`, which are those of single requests."""

import json
import math
import unittest

from training_case import TrainingCase

ITEMS = [("alpha ", ["beta", "x", "gamma delta"], 0), ("be", ["zz", "ta"], 1),
         ("gamma delta epsilon ", ["q", "alpha"], 1), ("delta ", ["epsilon", "delta"], 0),
         ("a" * 100, ["lpha", "b"], 1)]


class Tasks(TrainingCase):
    def setUp(self):
        super().setUp()
        lines = [json.dumps({"context": context, "choices": choices, "answer": answer, "id": [i, {"x": None}]})
                 for i, (context, choices, answer) in enumerate(ITEMS)]
        (self.folder / "task.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def lines(self, name):
        return [json.loads(line) for line in (self.folder / name).read_text(encoding="utf-8").splitlines()]

    def expected(self):
        """From the likelihoods of all choices, in Python. The model has windows of 32 tokens."""
        requests = [{"context": context[-(33 - len(choice)):], "continuation": choice}
                    for context, choices, _ in ITEMS for choice in choices]
        (self.folder / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in requests), encoding="utf-8")
        self.braid("eval", "runs/model", "--requests", "in.jsonl", "-o", "out.jsonl", "--force")
        likelihoods = iter(self.lines("out.jsonl"))
        right = by_byte = nats = size = 0
        for _, choices, answer in ITEMS:
            found = [next(likelihoods)["loglikelihood"] for _ in choices]
            right += max(range(len(found)), key=lambda c, f=found: f[c]) == answer
            by_byte += max(range(len(found)), key=lambda c, f=found, t=choices: f[c] / len(t[c])) == answer
            nats -= found[answer]
            size += len(choices[answer])
        share = right / len(ITEMS)
        return {"accuracy": share, "accuracy_norm": by_byte / len(ITEMS),
                "accuracy_stderr": math.sqrt(share * (1 - share) / (len(ITEMS) - 1)),
                "bits_per_byte": nats / math.log(2) / size}

    def assert_scores(self, found, expected):
        for key, value in expected.items():
            # f64 throughout; only the shapes of matrix products differ.
            self.assertAlmostEqual(found[key], value, delta=1e-10, msg=key)

    def test_training_on_any_layout_asks_them(self):
        options = ["train.precision=f64", "eval.every=10", "eval.tasks={words: {path: task.jsonl}}",
                   "eval.prompts=[\"alpha \", \"\u00e9\"]", "eval.prompt_tokens=7"]
        self.train("model", *options)
        self.train("two", *options, "parallel.expert=2", ranks=2)
        expected = self.expected()
        out, _ = self.braid("eval", "runs/model", "--task", "task.jsonl")
        self.assertEqual(json.loads(out)["items"], len(ITEMS))
        self.assert_scores(json.loads(out), expected)
        out, _ = self.braid("eval", "runs/model", "--task", "task.jsonl", ranks=2)
        self.assert_scores(json.loads(out), expected)
        last = {}
        for name in ("model", "two"):
            evaluated = [line for line in self.lines(f"runs/{name}/metrics.jsonl") if "task/words/accuracy" in line]
            last[name] = {key.split("/")[2]: value for key, value in evaluated[-1].items() if key.startswith("task/")}
            samples = self.lines(f"runs/{name}/samples.jsonl")
            self.assertEqual([line["step"] for line in samples], [line["step"] for line in evaluated for _ in range(2)])
            self.assertEqual([line["prompt"] for line in samples], ["alpha ", "\u00e9"] * len(evaluated))
            self.assertIn("task/words/accuracy", (self.folder / f"runs/{name}/log.txt").read_text(encoding="utf-8"))
        self.assert_scores(last["model"], expected)
        # What training asked is what the checkpoint answers alone.
        out, _ = self.braid("eval", "runs/two", "--task", "task.jsonl")
        self.assert_scores(last["two"], {key: json.loads(out)[key] for key in expected})
        # Another layout trains another model by rounding, ten to some tens of steps of it.
        self.assertAlmostEqual(last["two"]["bits_per_byte"], expected["bits_per_byte"], delta=1e-6)
        self.assertEqual(self.lines("runs/two/samples.jsonl")[0], self.lines("runs/model/samples.jsonl")[0])

    def test_samples_of_a_later_step_are_retired(self):
        options = ["eval.every=2", "eval.prompts=[\"al\"]", "eval.prompt_tokens=3", "checkpoint.every=2",
                   "checkpoint.keep=0"]
        self.train("model", *options, "train.stop_at=4")
        before = self.lines("runs/model/samples.jsonl")
        self.train("model", *options, "train.stop_at=4", "--resume", "runs/model/checkpoints/step-00000002")
        self.assertEqual(self.lines("runs/model/samples.jsonl"), before)
        retired = list(self.folder.glob("runs/model/superseded/*/samples.jsonl"))
        self.assertEqual(len(retired), 1)
        self.assertEqual(json.loads(retired[0].read_text(encoding="utf-8"))["step"], 4)

    def test_the_first_items_alone(self):
        self.train("model", "train.stop_at=1")
        out, _ = self.braid("eval", "runs/model", "--task", "task.jsonl", "--max-items", "1")
        self.assertIsNone(json.loads(out)["accuracy_stderr"])

    def test_bad_tasks_are_refused_before_training(self):
        (self.folder / "bad.jsonl").write_text('{"context": "a", "choices": ["b"], "answer": 0}\n', encoding="utf-8")
        for value, code, message in (("{words: {path: bad.jsonl}}", 3, "bad.jsonl: line 1: 'choices': expected two"),
                                     ("{words: {path: none.jsonl}}", 3, "none.jsonl"),
                                     ("{words: {items: 3}}", 2, "eval.tasks.words.path")):
            _, error = self.train("model", f"eval.tasks={value}", "eval.every=10", expect=code)
            self.assertIn(message, error)
            self.assertFalse((self.folder / "runs/model").exists())
            _, error = self.braid("config", "check", "base.yaml", f"eval.tasks={value}", "eval.every=10", expect=code)
            self.assertIn(message, error)
        for overrides, message in ((["eval.tasks={words: {path: task.jsonl}}", "eval.every=0"],
                                    "eval.tasks: has no effect"),
                                   (["eval.prompts=[\"a\"]", "eval.every=0"], "eval.prompts: has no effect"),
                                   (["eval.prompts=[\"\"]", "eval.every=1"], "expected at least one character each")):
            _, error = self.train("model", *overrides, expect=2)
            self.assertIn(message, error)


if __name__ == "__main__":
    unittest.main()
