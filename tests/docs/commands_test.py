#!/usr/bin/env python3
# ctest: labels=unit timeout=60 processors=1
"""Every shell command in README.md and in all of docs/ runs: those of one document in order, in one folder.

    commands_test.py DOCUMENT     one document; ctest has a test docs.commands.NAME for each
    commands_test.py --slow       documents with commands that take minutes: ctest --preset cpu -R '^docs.slow_commands'
    commands_test.py              this program itself, on planted documents

rules.py says what is changed in a command, so that it takes seconds, and which cannot run. Options of commands that
stand inside sentences are held against the program's help."""

import functools
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import doc_commands
from rules import DOCUMENTS, Document, Rule

ROOT = pathlib.Path(os.environ["BRAID_SOURCE_DIR"])
BINARY = pathlib.Path(os.environ["BRAID_BINARY_DIR"])
SECONDS_A_COMMAND, SLOW_SECONDS = 100, 600
TAIL = 1500


class Folder:
    """A folder as a reader has it: the tree's scripts and configs, the build, and token files of a little text."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        for name in ("launch", "configs", "bench"):
            # Copies: the launcher looks for the tree where it lies itself.
            shutil.copytree(ROOT / name, self.path / name)
        (self.path / "build").mkdir()
        (self.path / "build/cpu").symlink_to(BINARY)
        (self.path / "data-cache/quickstart").mkdir(parents=True)
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", BRAID_PRESET="cpu", PATH=os.pathsep.join(
            [str(self.path / "build/cpu"), str(self.path / "build/cpu/bench"), str(self.path / "launch"),
             "/usr/bin", os.environ["PATH"]]))
        self.make_data()

    def make_data(self):
        chosen = random.Random(3)
        lines = [" ".join(chosen.choices("alpha beta gamma delta epsilon".split(), k=20)) for _ in range(400)]
        (self.path / "data-cache/notes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.path / "data-cache/notes.jsonl").write_text("".join(f'{{"text": "{line}"}}\n' for line in lines),
                                                          encoding="utf-8")
        self.prepare("cd data-cache; braid data build notes.jsonl -o quickstart/train.h5"
                     " --validation quickstart/valid.h5 --validation-fraction 0.1")

    def add_files(self, document, shown):
        for name, text in (shown | document.files).items():
            (self.path / name).write_text(text, encoding="utf-8")
        for name, swaps in document.patches.items():
            text = (self.path / name).read_text(encoding="utf-8")
            (self.path / name).write_text(swapped(text, swaps), encoding="utf-8")

    def prepare(self, text):
        code, output = self.run("set -e; " + text, SECONDS_A_COMMAND)
        assert code == 0, f"preparation ended with {code}:\n{text}\n{output[-TAIL:]}"

    def run(self, text, seconds):
        """Runs shell text and returns its exit code and all it wrote."""
        with tempfile.TemporaryFile() as output:
            try:
                # timeout ends the whole group, of which the launcher's ranks are.
                code = subprocess.run(["timeout", "-k", "5", str(seconds), "bash", "-o", "pipefail", "-c", text],
                                      cwd=self.path, env=self.environment, stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=subprocess.STDOUT, timeout=seconds + 20, check=False).returncode
            except subprocess.TimeoutExpired:
                code = 124
            output.seek(0)
            return code, output.read().decode(errors="replace")


def swapped(text, swaps):
    for part, other in swaps.items():
        if part not in text:
            raise LookupError(f"nothing to change: {part!r}")
        text = text.replace(part, other)
    return text


def is_run(rule, slow):
    return not rule.instead or (slow and rule.slow is not None)


def shell_texts(command, rule, text, slow):
    """What is run for a command of the document with this text."""
    if not is_run(rule, slow):
        return [rule.instead(command.text)]
    swaps = rule.slow if slow and rule.slow is not None else rule.swap
    ways = [{rule.each[0]: found} for found in re.findall(rule.each[1], text)] if rule.each else [{}]
    if not ways:
        raise LookupError(f"the document has nothing that {rule.each[1]!r} finds")
    before = rule.before + "\n" if rule.before else ""
    return [before + swapped(command.text, swaps | way) + rule.add for way in ways]


def fault_of(command, rule, code, output):
    """What is wrong with how a command ended, or nothing."""
    if code != rule.exits:
        return f"exit code {code}, expected {rule.exits}"
    if rule.shows and not re.search(rule.shows, output):
        return f"expected in its output {rule.shows!r}"
    if rule.same_output and [line.rstrip() for line in command.output] != output.rstrip().split("\n"):
        return "the document shows other output"
    return None


def rule_of(command, rules):
    """The first rule that matches; without one a command runs as it stands."""
    return next((rule for rule in rules if rule.match in command.text), Rule(command.text, "as it stands"))


def problems_of_command(place, text, command, rule, folder, slow):
    """Yields what is wrong with one command."""
    try:
        texts = shell_texts(command, rule, text, slow)
    except LookupError as error:
        yield f"{place}\n  rules.py: {error}"
        return
    for shell_text in texts:
        start = time.monotonic()
        code, output = folder.run(shell_text, SLOW_SECONDS if slow else SECONDS_A_COMMAND)
        seconds, verb = time.monotonic() - start, "run" if is_run(rule, slow) else f"not run ({rule.why})"
        print(f"{seconds:5.1f} s  {place}: {verb}", flush=True)
        fault = fault_of(command, rule, code, output)
        if fault:
            yield f"{place}\n  {fault}\n  run as: {shell_text}\n{output[-TAIL:]}"


def problems_of_document(name, text, document, slow=False):
    """Yields what is wrong with a document."""
    chosen = [(command, rule_of(command, document.rules)) for command in doc_commands.commands(text)]
    for rule in document.rules:
        if not any(rule is used for _, used in chosen):
            yield f"{name}: rules.py: no command has {rule.match!r}"
    if chosen:
        with tempfile.TemporaryDirectory(prefix="braid-docs-") as path:
            folder = Folder(path)
            folder.add_files(document, doc_commands.shown_files(text))
            folder.prepare(document.before or "true")
            for command, rule in chosen:
                place = f"{name}:{command.line}: {command.text}"
                yield from problems_of_command(place, text, command, rule, folder, slow)
    yield from problems_of_inline(name, text, document.texts)


@functools.lru_cache(None)
def help_of(*words):
    """What the program says of a command, or nothing where it has none of this name."""
    done = subprocess.run([os.environ["BRAID"], *words, "--help"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def problems_of_inline(name, text, no_commands):
    """Yields commands and options in sentences that the program does not have."""
    found = doc_commands.inline_commands(text)
    unsaid = set(no_commands) - {words for _, words in found}
    yield from (f"{name}: rules.py: nothing says {words!r}" for words in unsaid)
    for line, command in (one for one in found if one[1] not in no_commands):
        first, *others = command.split()[1:]
        ways = [(word,) for word in first.split("|")]
        if others and first in ("config", "data", "checkpoint"):
            ways = [(first, word) for word in others[0].split("|")]
        # Words in capitals stand for commands, and the program's own options for themselves.
        for way in (way for way in ways if re.fullmatch("[a-z]+", way[-1])):
            known = help_of(*way)
            # Help of what does not exist may be that of the command above it.
            if not re.search(rf"(?m)^  {way[-1]}\b", help_of(*way[:-1])):
                yield f"{name}:{line}: there is no command {' '.join(way)}: {command}"
            for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", command):
                if not re.search(rf"(?<![\w-]){option}(?![\w-])", known):
                    yield f"{name}:{line}: {' '.join(way)} has no {option}: {command}"


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def problems_on_planted():
    """Yields faults of planted documents that are not found."""
    planted = {
        "    braid nonsense\n": "exit code 2",
        "    braid config check \\\n        nowhere.yaml   # why\n": "braid config check nowhere.yaml\n  exit code",
        "```sh\nbraid train configs/quickstart.yaml no.key=1 --dry-run\n```\n": "no.key",
        "    $ braid --version | cut -c1-5\n    brain\n": "shows other output",
        "    braid data info swapped.h5\n": "nothing to change",
        "See `braid train CONFIG --nonsense`.\n": "train has no --nonsense",
        "See `braid data nonsense|info`.\n": "there is no command data nonsense",
        "Nothing.\n": "no command has",
    }
    document = Document(rules=(Rule("cut -c1-5", "", same_output=True), Rule("swapped", "", swap={"other": "x"}),))
    for text, expected in planted.items():
        found = list(problems_of_document("planted", text, document))
        if not any(expected in problem for problem in found):
            yield f"expected {expected!r} of {text!r}, found {found}"
    fine = "    # a comment\n    braid --version > v   # why\n\ntext\n\n    grep -q raid v && echo 'a # b'\n" \
        "\n    no: command\n"
    yield from problems_of_document("planted", fine, Document())


def problems_of_itself():
    yield from (f"rules.py: there is no {name}" for name in DOCUMENTS if not (ROOT / name).is_file())
    yield from problems_on_planted()


def problems_of_slow():
    for name, document in DOCUMENTS.items():
        if any(rule.slow is not None for rule in document.rules):
            yield from problems_of_document(name, read(name), document, slow=True)


def main(arguments):
    if not arguments:
        problems = list(problems_of_itself())
    elif arguments[0] == "--slow":
        problems = list(problems_of_slow())
    else:
        problems = list(problems_of_document(arguments[0], read(arguments[0]), DOCUMENTS.get(arguments[0], Document())))
    print("\n".join([*problems, f"{len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
