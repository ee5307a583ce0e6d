#!/usr/bin/env python3
# ctest: labels=unit timeout=120 processors=1
"""launch/wandb_follow.py against a stand-in for wandb that keeps W&B's rules of steps: what it sends, once each."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])
DEADLINE_SECONDS = 30
# Records every call as a line of JSON. A run opened again goes on behind its last step; one that is lower is an error.
STAND_IN = '''
import json, os
FOLDER = os.environ["STAND_IN"]
def record(**call):
    with open(FOLDER + "/calls.jsonl", "a") as file:
        file.write(json.dumps(call) + "\\n")
def calls():
    try:
        return [json.loads(line) for line in open(FOLDER + "/calls.jsonl")]
    except FileNotFoundError:
        return []
class errors:
    class CommError(Exception): pass
    class AuthenticationError(CommError): pass
    class UsageError(Exception): pass
class Settings:
    def __init__(self, **keywords): pass
class Run:
    url, dir = "https://example.org/run", FOLDER + "/offline-run/files"
    def __init__(self, id, resume):
        steps = [call["step"] for call in calls() if call["call"] == "log" and call["id"] == id and resume == "allow"]
        self.id, self.step = id, 0
        self.starting_step = self.least = max(steps, default=-1) + 1
    def log(self, data, step):
        if os.path.exists(FOLDER + "/dead"):
            raise ConnectionResetError("Connection lost")
        assert step >= self.least, (step, self.least)
        assert all(isinstance(value, (int, float)) for value in data.values()), data
        self.least = step
        record(call="log", id=self.id, step=step, data=data)
    def finish(self, exit_code=0):
        record(call="finish", id=self.id, exit_code=exit_code)
def teardown():
    record(call="teardown")
    os.path.exists(FOLDER + "/dead") and os.remove(FOLDER + "/dead")
def init(**keywords):
    for name, kind in (("away", errors.CommError), ("dead", ConnectionError), ("no_account", errors.UsageError)):
        if os.path.exists(f"{FOLDER}/{name}"):
            raise kind("wandb: " + name)
    keywords.pop("settings")
    record(call="init", **keywords)
    return Run(keywords["id"], keywords["resume"])
'''
# A little of YAML, so that the test needs no package: a JSON text is both.
YAML = "import json\nsafe_load, YAMLError = json.loads, ValueError\n"


class Follow(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        modules = self.folder / "modules"
        modules.mkdir()
        (modules / "wandb.py").write_text(STAND_IN)
        (modules / "yaml.py").write_text(YAML)
        self.environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(modules), "STAND_IN": str(self.folder),
                            "PYTHONDONTWRITEBYTECODE": "1"}
        self.number = 0

    def make(self, name="runs/nano", steps=3, **start):
        run = self.folder / name
        run.mkdir(parents=True)
        self.number += 1
        (run / "config.yaml").write_text(json.dumps({"name": run.name, "seed": self.number, "train": {"steps": 9}}))
        self.begin(run, first_step=1, **start)
        self.train(run, range(1, steps + 1))
        return run

    def begin(self, run, **start):
        """One more start in run.json."""
        record = run / "run.json"
        starts = json.loads(record.read_text())["starts"] if record.exists() else []
        starts.append({"start_time": "2026-01-31T09:05:00Z", "command": ["braid"], "hosts": ["a"], **start})
        self.replace(record, json.dumps({"starts": starts}))

    def end(self, run, code):
        record = json.loads((run / "run.json").read_text())
        record["starts"][-1]["exit_code"] = code
        self.replace(run / "run.json", json.dumps(record))

    def replace(self, path, text):
        other = path.with_name(f"{path.name}.tmp-1-ABCDEFGH")
        other.write_text(text)
        other.rename(path)

    def train(self, run, steps, **fields):
        with (run / "metrics.jsonl").open("a") as file:
            for step in steps:
                file.write(json.dumps({"step": step, "loss": 5.0 - step / 10, **fields}) + "\n")

    def cut_back(self, run, last_step):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= last_step]
        self.replace(run / "metrics.jsonl", "".join(line + "\n" for line in kept))

    def command(self, *arguments):
        return [sys.executable, str(ROOT / "launch/wandb_follow.py"), *map(str, arguments)]

    def follow(self, *arguments, code=0):
        """Runs it to its end."""
        done = subprocess.run(self.command(*arguments), env=self.environment, cwd=self.folder, text=True, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=DEADLINE_SECONDS)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def start(self, *arguments):
        """Starts it to follow something live."""
        # A file, so that nobody has to read a pipe.
        with (self.folder / "output").open("w") as output:
            process = subprocess.Popen(self.command(*arguments, "--every", 0.05), env=self.environment, cwd=self.folder,
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def output(self):
        return (self.folder / "output").read_text()

    def until(self, what):
        end = time.monotonic() + DEADLINE_SECONDS
        while not what():
            self.assertLess(time.monotonic(), end, f"{self.output()}\n{self.calls()}")
            time.sleep(0.02)

    def calls(self, kind=None):
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        calls = [json.loads(line) for line in lines if line.endswith("\n")]
        return [call for call in calls if kind in (None, call["call"])]

    def sent(self):
        return [call["step"] for call in self.calls("log")]

    def test_a_run_that_has_ended(self):
        run = self.make(labels={"sweep": "norms", "plan": "0f", "variant": "v" * 70, "role": "judge"})
        self.end(run, 0)
        before = sorted(path.name for path in run.iterdir())
        done = self.follow(run, "--project", "p", "--entity", "e")
        init, = self.calls("init")
        expected = {"project": "p", "entity": "e", "name": "nano", "group": "norms", "job_type": "judge",
                    "resume": "allow", "mode": None}
        self.assertEqual({key: init[key] for key in expected}, expected)
        self.assertEqual(init["tags"], ["norms", "v" * 64, "judge"])
        self.assertEqual(init["config"], {"name": "nano", "seed": 1, "train": {"steps": 9}})
        self.assertEqual(self.sent(), [1, 2, 3])
        self.assertEqual(self.calls("log")[0]["data"], {"loss": 4.9})
        self.assertEqual([call["exit_code"] for call in self.calls("finish")], [0])
        self.assertIn(f"{run}: sent to step 3; the run ended with exit code 0\n", done.stdout)
        self.assertEqual(sorted(path.name for path in run.iterdir()), before)

    def test_a_run_that_failed_and_a_group(self):
        run = self.make()
        self.end(run, 5)
        self.follow(run, "--group", "mine")
        self.assertEqual(self.calls("init")[0]["group"], "mine")
        self.assertEqual([call["exit_code"] for call in self.calls("finish")], [1])

    def test_live_until_the_run_ends(self):
        run = self.make(steps=2)
        process = self.start(run)
        self.until(lambda: self.sent() == [1, 2])  # the last one too, although none has followed
        self.train(run, [3])
        self.until(lambda: self.sent() == [1, 2, 3])
        self.end(run, 75)  # to be gone on with
        self.until(lambda: "stopped by a signal; waiting" in self.output())
        self.begin(run, first_step=4)
        self.train(run, [4, 5])
        self.end(run, 0)
        self.assertEqual(process.wait(DEADLINE_SECONDS), 0)
        self.assertEqual(self.sent(), [1, 2, 3, 4, 5])
        self.assertEqual([len(self.calls("init")), len(self.calls("finish"))], [1, 1])

    def test_again_sends_what_is_new_wherever_the_folder_is(self):
        run = self.make()
        self.follow(run, "--once")
        self.train(run, [4, 5])
        # A resume that changed the config, and another place.
        (run / "config.yaml").rename(run / "config-1.yaml")
        (run / "config.yaml").write_text('{"train": {"steps": 20}}')
        self.begin(run, first_step=4)
        moved = run.rename(self.folder / "moved")
        done = self.follow(moved, "--once")
        self.assertEqual(self.sent(), [1, 2, 3, 4, 5])
        self.assertEqual(len({call["id"] for call in self.calls()}), 1)
        self.assertIn("has the steps to 3", done.stdout)
        self.follow(moved, "--once", "--copy", "b")
        self.assertEqual(self.sent(), [1, 2, 3, 4, 5] + [1, 2, 3, 4, 5])
        self.assertEqual(self.calls("init")[-1]["id"], self.calls("init")[0]["id"] + "-b")

    def test_offline_holds_the_whole_run(self):
        run = self.make()
        for _ in range(2):
            done = self.follow(run, "--once", "--offline")
        self.assertEqual(self.sent(), [1, 2, 3, 1, 2, 3])
        self.assertEqual([self.calls("init")[1][key] for key in ("mode", "resume")], ["offline", None])
        self.assertIn(str(self.folder / "offline-run"), done.stdout)

    def test_a_torn_line_is_waited_for(self):
        run = self.make(steps=2)
        line = '{"step": 3, "loss": 1.25}\n'
        with (run / "metrics.jsonl").open("a") as file:
            file.write(line[:12])
        self.follow(run, "--once")
        self.assertEqual(self.sent(), [1, 2])
        self.start(run)
        self.until(lambda: "has the steps to 2" in self.output())
        with (run / "metrics.jsonl").open("a") as file:
            file.write(line[12:])
        self.until(lambda: self.sent() == [1, 2, 3])
        self.assertEqual(self.calls("log")[-1]["data"], {"loss": 1.25})
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 4, "lo\n{"step": 4, "loss": 2.5}\n')  # torn for good, and closed by the next start
        self.until(lambda: self.sent() == [1, 2, 3, 4])

    def test_numbers_alone_are_sent(self):
        run = self.make(steps=0)
        self.train(run, [1], grad_norm=None, worst_sequences=[{"sample": 1, "loss": 2.0}], tokens=7)
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 2, "loss": null}\n')
        self.follow(run, "--once")
        self.assertEqual([call["data"] for call in self.calls("log")], [{"loss": 4.9, "tokens": 7}])

    def test_layers_go_with_their_step(self):
        run = self.make(steps=0)
        self.train(run, [0, 2, 4])
        with (run / "layers.jsonl").open("w") as file:
            for step in (2, 3, 4):
                for layer, sublayer in ((0, "attn"), (1, "moe")):
                    file.write(json.dumps({"step": step, "layer": layer, "sublayer": sublayer, "residual_rms": step / 2,
                                           "state_rms": None}) + "\n")
        self.follow(run, "--once")
        rows = {call["step"]: call["data"] for call in self.calls("log")}
        layers = {"layers/0/attn/residual_rms": 1.0, "layers/1/moe/residual_rms": 1.0}
        self.assertEqual(self.sent(), [0, 2, 3, 4])
        self.assertEqual(rows[0], {"loss": 5.0})
        self.assertEqual(rows[2], {"loss": 4.8, **layers})
        self.assertEqual(rows[3], {name: 1.5 for name in layers})
        self.assertEqual(set(rows[4]), {"loss", *layers})

    def test_layers_that_come_behind_the_metrics_join_them(self):
        run = self.make(steps=2)
        self.start(run)
        self.until(lambda: self.sent() == [1, 2])
        (run / "layers.jsonl").write_text('{"step": 2, "layer": 0, "sublayer": "moe", "dead_experts": 3}\n')
        self.until(lambda: self.sent() == [1, 2, 2])
        self.assertEqual(self.calls("log")[-1]["data"], {"layers/0/moe/dead_experts": 3})

    def test_a_rollback_while_it_is_followed(self):
        run = self.make(steps=6)
        process = self.start(run)
        self.until(lambda: self.sent() == [1, 2, 3, 4, 5, 6])
        # Cut and grown anew, further than before, between two looks or in several.
        self.cut_back(run, 3)
        self.begin(run, first_step=4, superseded="superseded/0001-after-step-3")
        self.train(run, range(4, 9), again=1)
        self.end(run, 0)
        self.assertEqual(process.wait(DEADLINE_SECONDS), 0)
        self.assertEqual(self.sent(), list(range(1, 9)))
        told = [line for line in self.output().splitlines() if "went back to step" in line]
        self.assertEqual(len(told), 1, self.output())
        self.assertIn(f"{run}: went back to step 3; W&B takes each step once, so 4 to 6 stay as they were", told[0])

    def test_a_rollback_between_two_calls(self):
        run = self.make(steps=6)
        self.follow(run, "--once")
        self.cut_back(run, 3)
        self.begin(run, first_step=4, superseded="superseded/0001-after-step-3")
        self.assertIn("went back to step 3; W&B takes each step once, so 4 to 6", self.follow(run, "--once").stdout)
        self.train(run, range(4, 8))
        self.assertNotIn("went back", self.follow(run, "--once").stdout)
        self.assertEqual(self.sent(), [1, 2, 3, 4, 5, 6, 7])

    def test_a_sweep_and_a_run_that_appears_later(self):
        sweep = self.folder / "sweeps/norms"
        sweep.mkdir(parents=True)
        (sweep / "sweep.yaml").write_text("{}")
        first = self.make("sweeps/norms/tune/pre_0.1_s9", steps=2)
        process = self.start(sweep)
        self.until(lambda: len(self.sent()) == 2)
        self.end(first, 0)
        self.until(lambda: len(self.calls("finish")) == 1)
        (sweep / "runs/empty").mkdir(parents=True)
        self.make("sweeps/norms/runs/pre_s1", steps=3)
        self.until(lambda: len(self.sent()) == 5)
        self.begin(first, first_step=3)  # one that had ended goes on
        self.train(first, [3])
        self.until(lambda: len(self.sent()) == 6)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(DEADLINE_SECONDS), 0, self.output())
        ids = {call["name"]: call["id"] for call in self.calls("init")}
        self.assertEqual(sorted(ids), ["pre_0.1_s9", "pre_s1"])
        steps = {name: [call["step"] for call in self.calls("log") if call["id"] == ids[name]] for name in ids}
        self.assertEqual(steps, {"pre_0.1_s9": [1, 2, 3], "pre_s1": [1, 2, 3]})

    def test_a_folder_that_cannot_be_read_leaves_the_others_alone(self):
        broken, unreadable, good = (self.make(name) for name in ("a", "b", "c"))
        (broken / "config.yaml").write_text("{")
        (unreadable / "layers.jsonl").mkdir()
        done = self.follow(broken, unreadable, good, "--once", code=1)
        self.assertIn(f"{broken}: JSONDecodeError: ", done.stderr)
        self.assertIn(f"{unreadable}: IsADirectoryError: ", done.stderr)
        self.assertIn(f"{good}: sent to step 3\n", done.stdout)
        self.assertEqual(self.calls("teardown"), [])

    def test_a_signal_ends_it_with_what_is_there(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            run = self.make(f"runs/{number.name}", steps=2)
            process = self.start(run)
            self.until(lambda: "W&B run" in self.output())
            process.send_signal(number)
            self.assertEqual(process.wait(DEADLINE_SECONDS), 0, self.output())
            self.assertEqual(self.calls()[-1]["exit_code"], 0)
            self.assertEqual(self.sent()[-2:], [1, 2])
            self.assertIn("sent to step 2\n", self.output())
            self.assertNotIn("Traceback", self.output())

    def test_a_run_that_has_not_begun(self):
        run = self.make(steps=0)
        record = (run / "run.json").read_text()
        (run / "run.json").unlink()
        self.assertIn("nothing has started here yet", self.follow(run, "--once").stderr)
        self.start(run)
        self.until(lambda: "nothing has started here yet" in self.output())
        (run / "run.json").write_text(record)
        self.train(run, [1])
        self.until(lambda: self.sent() == [1])

    def test_wandb_out_of_reach(self):
        run = self.make()
        away = self.folder / "away"
        away.touch()
        self.assertIn(f"{run}: CommError: wandb: away", self.follow(run, "--once", code=1).stderr)
        self.start(run)
        self.until(lambda: "wandb: away" in self.output())
        time.sleep(0.3)
        self.assertEqual(self.output().count("wandb: away"), 1)
        self.assertEqual(self.calls(), [])
        away.unlink()
        self.until(lambda: self.sent() == [1, 2, 3])

    def test_the_process_of_wandb_died(self):
        run = self.make()
        self.start(run)
        self.until(lambda: self.sent() == [1, 2, 3])
        (self.folder / "dead").touch()
        self.train(run, [4, 5])
        self.until(lambda: self.sent() == [1, 2, 3, 4, 5])
        self.assertEqual([len(self.calls("init")), len(self.calls("teardown"))], [2, 1])
        self.assertIn(f"{run}: ConnectionResetError: Connection lost\n", self.output())

    def test_what_waiting_does_not_help_ends_it(self):
        (self.folder / "no_account").touch()
        self.assertIn("wandb: no_account", self.follow(self.make(), code=2).stderr)

    def test_without_wandb(self):
        (self.folder / "modules/wandb.py").write_text("raise ModuleNotFoundError(\"No module named 'wandb'\")\n")
        done = self.follow(self.make(), code=2)
        self.assertEqual(done.stderr, "wandb_follow: No module named 'wandb'; install what is needed with: "
                                      "python3 -m pip install 'wandb>=0.20' pyyaml\n")

    def test_not_a_run_folder(self):
        run = self.make()
        for wrong in (self.folder / "nowhere", self.folder, run / "config.yaml"):
            done = self.follow(run, wrong, code=2)
            self.assertIn(f"{wrong}: neither a run folder (no config.yaml) nor that of a sweep", done.stderr)
        self.assertEqual(self.calls(), [])

    def test_wandb_does_not_write_into_a_run_folder(self):
        run = self.make()
        self.environment["WANDB_DIR"] = str(run / "below")
        self.assertIn(f"would write its files into the run folder {run.resolve()}", self.follow(run, code=2).stderr)

    def test_wrong_usage(self):
        self.assertIn("--every", self.follow(self.make(), "--every", "0", code=2).stderr)
        self.assertIn("--copy", self.follow("x", "--copy", "a b", code=2).stderr)


if __name__ == "__main__":
    unittest.main()
