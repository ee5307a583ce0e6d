#!/usr/bin/env python3
"""Send the metrics of run folders to Weights & Biases, while they train or afterwards, from any node that sees them.

It only reads the folders: training neither knows nor waits. Each run folder is one W&B run, whose id follows from the
folder's first start and first config, so the same command again sends what is new. A folder of a sweep stands for all
its runs, those to come included. Ends when all runs named have ended; a sweep is followed until SIGINT or SIGTERM,
which end it cleanly with exit code 0. docs/runs.md says more. Needs: python3 -m pip install wandb pyyaml
"""

import argparse
import hashlib
import heapq
import importlib
import itertools
import json
import os
import pathlib
import re
import signal
import sys
import time

INSTALL = "python3 -m pip install 'wandb>=0.20' pyyaml"
STOPPED = 75  # the exit code of a run that a signal stopped: the same command goes on, so it has not ended
SETTLING_SECONDS = 0.5  # the layers of a step are written right behind its metrics
MAX_TAG = 64  # characters, W&B's limit


def fail(message):
    print(f"wandb_follow: {message}", file=sys.stderr)
    sys.exit(2)


def load_module(name):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fail(f"{error}; install what is needed with: {INSTALL}")


class Lines:
    """The whole lines of a file that grows, each once; `rewritten` says when the file is another one than was read."""

    def __init__(self, path):
        self.path = path
        self.restart()

    def restart(self):
        self.offset = 0  # behind the last line taken
        self.last = b""  # that line

    def is_behind_last(self, file):
        """Sets the file behind the line taken last, if it has that line there."""
        file.seek(self.offset - len(self.last))
        return file.read(len(self.last)) == self.last

    def rewritten(self):
        """A start that goes back to an earlier step replaces the file by one without the later lines."""
        try:
            with self.path.open("rb") as file:
                return not self.is_behind_last(file)
        except FileNotFoundError:
            return False

    def take(self):
        """Yields (step, object) of the new lines; a last one without its end of line is left for later."""
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        with file:
            if not self.is_behind_last(file):
                return  # rewritten since it was asked; the next look begins anew
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                self.last = line
                try:
                    record = json.loads(line)
                    yield int(record["step"]), record
                except (ValueError, TypeError, KeyError):
                    continue  # a crash tore it, and the next start has closed the line


def numbers(record, prefix=""):
    """What W&B can draw: neither null, which stands for a number that is not finite, nor lists."""
    return {prefix + name: value for name, value in record.items()
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)}


def layer_numbers(record):
    place = ("step", "layer", "sublayer")
    prefix = f"layers/{record.get('layer')}/{record.get('sublayer')}/"
    return numbers({name: value for name, value in record.items() if name not in place}, prefix)


class Folder:
    """A run folder and the W&B run that shows it."""

    def __init__(self, path, options):
        self.path = path
        self.options = options
        self.metrics = Lines(path / "metrics.jsonl")
        self.layers = Lines(path / "layers.jsonl")
        self.run = None
        self.problem = ""  # what was told last
        self.ended = 0  # how many starts there were when the last one had ended
        self.paused = 0  # the same, when it had stopped to be gone on with
        self.num_starts = 0  # at the last look
        self.sent = -1  # the last step that W&B has
        self.forget()

    def forget(self):
        """Reads from the start again; what was sent is for W&B to say."""
        self.metrics.restart()
        self.layers.restart()
        self.held = {}  # by step, what may not be whole yet
        self.newest = -1  # step in metrics.jsonl
        self.unfinished = None  # the step sent last, to which W&B still adds

    def say(self, message):
        print(f"{self.path}: {message}", flush=True)

    def complain(self, message):
        """Tells a problem once, in one line, however often it is met."""
        message = " ".join(message.split())
        if message != self.problem:
            print(f"{self.path}: {message}", file=sys.stderr, flush=True)
        self.problem = message

    def starts(self):
        """The entries of run.json; none before the run has begun."""
        try:
            return json.loads((self.path / "run.json").read_bytes())["starts"]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return []

    def identity(self, first_start):
        """The id of the W&B run: what a resume leaves as it is, wherever the folder lies and whatever it is called."""
        config = self.path / "config-1.yaml"  # the first of several
        if not config.exists():
            config = self.path / "config.yaml"
        fixed = [first_start.get(key) for key in ("start_time", "command", "working_directory", "hosts")]
        text = json.dumps(fixed).encode() + config.read_bytes()
        return "-".join(filter(None, (hashlib.sha256(text).hexdigest()[:16], self.options.copy)))

    def open(self, starts):
        wandb, options = self.options.wandb, self.options
        labels = starts[-1].get("labels", {})
        config = self.options.yaml.safe_load((self.path / "config.yaml").read_text("utf-8"))
        identity = self.identity(starts[0])
        quiet = wandb.Settings(console="off", disable_git=True, disable_code=True, x_disable_stats=True, silent=True)
        self.run = wandb.init(
            project=options.project, entity=options.entity, id=identity, name=self.path.name, config=config,
            group=options.group or labels.get("sweep"), job_type=labels.get("role"),
            tags=[labels[key][:MAX_TAG] for key in ("sweep", "variant", "role") if labels.get(key)],
            # An offline run knows nothing of others, so it holds the whole folder each time.
            resume=None if options.offline else "allow", mode="offline" if options.offline else None,
            reinit="create_new", settings=quiet)
        self.forget()
        self.sent = self.run.starting_step - 1  # its `step` is 0 until something is logged, also of a resumed run
        where = pathlib.Path(self.run.dir).parent if options.offline else self.run.url
        self.say(f"W&B run {identity}" + (f", {where}" if where else "") +
                 (f", has the steps to {self.sent}" if self.sent >= 0 else ""))

    def advance(self, closing=False):
        """Sends what is new. False where W&B failed: the next call tries again from what W&B has then."""
        try:
            return self.send_new(closing)
        except self.options.usage_errors as error:
            fail(f"{self.path}: {error}")
        except Exception as error:  # W&B raises of many kinds, and none of them shall end the others
            self.complain(f"{type(error).__name__}: {error}")
            self.drop()
            # Neither of the network nor of a file here, it may mean that W&B's own process is gone.
            harmless = isinstance(error, self.options.harmless_errors) or getattr(error, "filename", None)
            self.options.restart = self.options.restart or not harmless
            return False

    def send_new(self, closing):
        starts = self.starts()  # before the lines: those of a run that has ended by now are all there
        if not starts:
            self.complain("nothing has started here yet")
            return True
        code = starts[-1].get("exit_code")
        over = code is not None and code != STOPPED
        if over and self.ended == len(starts):
            return True
        opens = self.run is None
        if opens:
            self.open(starts)
        cut = self.metrics.rewritten()
        if cut or self.layers.rewritten():
            self.forget()
        sent_before = self.sent
        self.send_lines(everything=over or closing)
        if opens or cut:
            later = self.starts()[self.num_starts :] if cut else []  # read last: lines of a start are behind its entry
            self.tell_rollback(later[0].get("first_step", 1) - 1 if later else self.newest, sent_before)
        self.num_starts = len(starts)
        self.problem = ""
        if over or closing:
            self.finish(1 if over and code != 0 else 0)
            self.ended = len(starts) if over else 0
            done = f"sent to step {self.sent}" if self.sent >= 0 else "nothing to send"
            self.say(done + (f"; the run ended with exit code {code}" if over else ""))
        elif code == STOPPED and self.paused != len(starts) and not self.options.once:
            self.paused = len(starts)
            self.say("stopped by a signal; waiting for the start that goes on")
        return True

    def send_lines(self, everything):
        """Sends each step's numbers of both files at once, in the order of steps.

        W&B takes a step once. A step is whole when metrics.jsonl has a later one, or after one more look.
        """
        whole = self.newest
        held, self.held = sorted(self.held.items()), {}
        first = ((step, 0, row) for step, row in held)
        metrics = ((step, 1, numbers(record)) for step, record in self.metrics.take())
        layers = ((step, 2, layer_numbers(record)) for step, record in self.layers.take())
        for step, parts in itertools.groupby(heapq.merge(first, metrics, layers, key=lambda part: part[:2]),
                                             key=lambda part: part[0]):
            row = {}
            for _, kind, part in parts:
                row.update(part)
                if kind == 1:
                    self.newest = max(self.newest, step)
            if self.newest == step:  # all that is held is of earlier steps
                self.send_held(step - 1)
            self.held.setdefault(step, {}).update(row)
        self.send_held(max(self.held, default=-1) if everything else whole)

    def send_held(self, last):
        for step in sorted(step for step in self.held if step <= last):
            row = self.held.pop(step)
            if row and (step > self.sent or step == self.unfinished):
                self.run.log(row, step=step)
                self.sent = self.unfinished = step

    def tell_rollback(self, step, sent):
        """Says in one line if the folder has gone back behind what was sent before."""
        step = max(step, 0)
        if step < sent:
            self.say(f"went back to step {step}; W&B takes each step once, so {step + 1} to {sent} stay as they were "
                     f"sent and new ones follow (--copy NAME sends all anew as another W&B run)")

    def finish(self, code):
        run, self.run = self.run, None
        if run:
            run.finish(exit_code=code)

    def drop(self):
        """Lets go of a W&B run that failed."""
        try:
            self.finish(1)
        except Exception:  # it has been told why
            pass


def is_sweep(path):
    return (path / "sweep.yaml").is_file()


def run_folders(path):
    """The run folders that a folder stands for, by now."""
    if not is_sweep(path):
        return [path]
    return sorted(config.parent for part in ("runs", "tune") for config in path.glob(f"{part}/*/config.yaml"))


def check_folders(paths):
    for path in paths:
        if not is_sweep(path) and not (path / "config.yaml").is_file():
            fail(f"{path}: neither a run folder (no config.yaml) nor that of a sweep (no sweep.yaml)")
    # W&B keeps its own files there, and run folders are not written to.
    here = pathlib.Path(os.environ.get("WANDB_DIR") or ".").resolve()
    for folder in (here, *here.parents):
        if (folder / "config.yaml").is_file() and (folder / "metrics.jsonl").is_file():
            fail(f"{here}: W&B would write its files into the run folder {folder}; work elsewhere or set WANDB_DIR")


class StopSignal:
    """SIGINT or SIGTERM ends the wait; the second one ends the process."""

    def __init__(self):
        self.came = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle)

    def handle(self, number, _):
        self.came = True
        signal.signal(number, signal.SIG_DFL)

    def wait(self, seconds):
        end = time.monotonic() + seconds
        while not self.came and time.monotonic() < end:
            time.sleep(min(0.1, max(0.0, end - time.monotonic())))


def restart_wandb(options, folders):
    """Without its own process W&B fails for good; another one begins with the next run that is opened."""
    options.restart = False
    for folder in folders:
        folder.drop()
    try:
        options.wandb.teardown()
    except Exception:  # of what is gone
        pass


def follow(options, stop):
    """Returns the exit code."""
    folders = {}
    while True:
        for path in itertools.chain.from_iterable(run_folders(named) for named in options.folders):
            if path.resolve() not in folders:
                folders[path.resolve()] = Folder(path, options)
        good = True
        for folder in folders.values():
            if not stop.came:
                good = folder.advance() and good
        if options.restart:
            restart_wandb(options, folders.values())
        over = not any(map(is_sweep, options.folders)) and all(folder.ended for folder in folders.values())
        if options.once or stop.came or over:
            break
        stop.wait(options.every)
    if not over:
        if options.once:
            stop.wait(SETTLING_SECONDS)
        for folder in folders.values():
            if folder.run:
                good = folder.advance(closing=True) and good
    return 0 if good or stop.came else 1


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="RUN", help="a run folder, or sweeps/NAME")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT") or "braid", help="default: %(default)s")
    parser.add_argument("--entity", help="user or team; default: that of the account")
    parser.add_argument("--group", help="default: the sweep's name, for runs of a sweep")
    parser.add_argument("--every", type=float, default=15, metavar="SECONDS", help="between looks; default: 15")
    parser.add_argument("--once", action="store_true", help="send what is there, then end")
    parser.add_argument("--offline", action="store_true", help="write for a later `wandb sync`, without a network")
    parser.add_argument("--copy", metavar="NAME", help="send all anew, as W&B runs whose ids end in -NAME")
    options = parser.parse_args()
    if not 0 < options.every < 1e6:
        parser.error("--every: expected seconds above 0")
    if options.copy is not None and not re.fullmatch("[A-Za-z0-9_-]{1,40}", options.copy):
        parser.error("--copy: expected letters, digits, - and _")
    return options


def main():
    options = parse_arguments()
    check_folders(options.folders)
    options.wandb, options.yaml = load_module("wandb"), load_module("yaml")
    options.restart = False
    options.harmless_errors = (options.wandb.errors.CommError, options.yaml.YAMLError)
    options.usage_errors = (options.wandb.errors.UsageError, options.wandb.errors.AuthenticationError)  # no account
    sys.exit(follow(options, StopSignal()))


if __name__ == "__main__":
    main()
