#!/usr/bin/env python3
# ctest: labels=mpi timeout=300 processors=2
"""`braid eval --requests` gives what the logits of `braid eval --tokens` say, and refuses bad lines whole."""

import json
import math
import unittest

import h5py
from training_case import TrainingCase

REQUESTS = [("alpha ", "beta"), ("be", "ta gamma"), ("x", "y"), ("gamma delta epsilon ", "alpha beta gamma delta"),
            ("alp", "ha"), ("\u00e9\n\"", "\u00e9")]


class Requests(TrainingCase):
    @classmethod
    def line(cls, context, continuation, **more):
        return json.dumps({"context": context, "continuation": continuation, **more}) + "\n"

    def write(self, text, name="in.jsonl"):
        (self.folder / name).write_text(text, encoding="utf-8")

    def read(self, name):
        return [json.loads(line) for line in (self.folder / name).read_text(encoding="utf-8").splitlines()]

    def expected(self, context, continuation):
        """From all logits of the whole text, with numpy."""
        before, after = context.encode(), continuation.encode()
        tokens = before + after
        self.braid("eval", "runs/model", "--tokens", ",".join(map(str, tokens)), "--logits", "logits.h5", "--force")
        with h5py.File(self.folder / "logits.h5") as file:
            logits = file["logits"][:]
        total, greedy = 0.0, True
        for i in range(len(before), len(tokens)):
            row = logits[i - 1]
            total += row[tokens[i]] - row.max() - math.log(sum(math.exp(x - row.max()) for x in row))
            greedy = greedy and row.argmax() == tokens[i]
        return total, greedy

    def test_likelihoods_are_those_of_the_logits(self):
        # A row takes as many tokens as a micro-batch, 32: some requests share one, the longest has one of its own.
        self.train("model", "train.precision=f64", "train.micro_batch=1")
        self.write("".join(self.line(*request, id=i, gold=[1.50, {"n": 12345678901234567890123}])
                           for i, request in enumerate(REQUESTS)).replace("1.5,", "1.50,") + "\n")
        self.braid("eval", "runs/model", "--requests", "in.jsonl", "-o", "out.jsonl")
        self.braid("eval", "runs/model", "--requests", "in.jsonl", "-o", "two.jsonl", ranks=2)
        lines = self.read("out.jsonl")
        greedy = 0
        for i, (request, line, other) in enumerate(zip(REQUESTS, lines, self.read("two.jsonl"), strict=True)):
            loglikelihood, is_greedy = self.expected(*request)
            self.assertEqual((line["id"], line["context"], line["continuation"]), (i, *request))
            # f64 throughout; the runs differ in the shapes of their matrix products only.
            self.assertAlmostEqual(line["loglikelihood"], loglikelihood, delta=1e-10)
            self.assertAlmostEqual(other["loglikelihood"], loglikelihood, delta=1e-10)
            self.assertEqual(line["num_tokens"], len(request[1].encode()))
            self.assertEqual((line["is_greedy"], other["is_greedy"]), (is_greedy, is_greedy))
            greedy += is_greedy
        self.assertGreater(greedy, 0)
        self.assertLess(greedy, len(REQUESTS))
        self.assertIn('"gold": [1.50, {"n": 12345678901234567890123}],"loglikelihood":',
                      (self.folder / "out.jsonl").read_text(encoding="utf-8"))

    def test_bad_lines_are_refused_and_nothing_is_written(self):
        self.train("model", "train.stop_at=1")
        good = self.line("a", "b")
        for bad, message in ((good + "{\n", "in.jsonl: line 2: not valid JSON"),
                             (good + "\n[1]\n", "in.jsonl: line 3: expected a JSON object, found a list"),
                             ('{"context": "a"}\n', "in.jsonl: line 1: expected the key 'continuation', found none"),
                             (good + '{"context": 1, "continuation": "b"}',
                              "line 2: 'context': expected a string, found a number"),
                             (self.line("", "b"), "line 1: 'context': expected at least one token, found an empty"),
                             (self.line("a", ""), "'continuation': expected at least one token"),
                             (self.line("a", "b", num_tokens=1), "line 1: the key 'num_tokens' is kept"),
                             ('{"context": "a", "continuation": "b", "context": "c"}', "'context' appears twice"),
                             ('{"context": "a", "continuation": "b"} {}', "not valid JSON"),
                             ("[" * 100000, "expected a JSON object, found a list"),
                             ("\n", "in.jsonl: expected at least one request, found none")):
            with self.subTest(bad=bad[:60]):
                self.write(bad)
                _, error = self.braid("eval", "runs/model", "--requests", "in.jsonl", "-o", "out.jsonl", expect=3)
                self.assertIn(message, error)
                self.assertEqual(len(error.strip().splitlines()), 1, error)
                self.assertEqual(list(self.folder.glob("out.jsonl*")), [])
        self.braid("eval", "runs/model", "--requests", "none.jsonl", "-o", "out.jsonl", expect=3)

    def test_existing_output_stays(self):
        self.train("model", "train.stop_at=1")
        self.write(self.line("a", "b"))
        self.write("mine\n", "out.jsonl")
        request = ("eval", "runs/model", "--requests", "in.jsonl", "-o", "out.jsonl")
        self.assertIn("out.jsonl: exists already", self.braid(*request, expect=7)[1])
        self.assertEqual((self.folder / "out.jsonl").read_text(encoding="utf-8"), "mine\n")
        self.braid(*request, "--force")
        self.assertEqual(self.read("out.jsonl")[0]["num_tokens"], 1)
        for usage in (request[:4], request[:2] + request[4:], request + ("--data", "valid.h5"),
                      request + ("--tokens", "1", "--logits", "l.h5")):
            self.braid(*usage, expect=2)


if __name__ == "__main__":
    unittest.main()
