"""The shell commands, files and inline commands that a document shows."""

import dataclasses
import re

# What a command begins with; a block of which no line does is output, a formula or data.
FIRST_WORD = re.compile(r"(?:[A-Z_]+=\S* )*(?:braid|braid-mpirun|mpirun|cmake|ctest|python3|pip|wandb|sbatch|tar|grep|"
                        r"head|source|sudo|apt-get|bench_\w+|(?:\./)?(?:launch|bench|build|venv|braid-bundle)/\S+)"
                        r"(?:\s|$)")
FILE_NAME = re.compile(r"# ([\w.-]+\.(?:yaml|jsonl|py|sh))$")
INLINE = re.compile(r"`(braid [^`]+)`")
SHELLS = ("", "sh", "bash", "console")


@dataclasses.dataclass
class Command:
    line: int
    text: str
    output: list  # the lines shown below a command behind a dollar sign


def blocks(text):
    """Yields (first line, language, lines) of the code blocks: fenced ones, and ones indented by four spaces."""
    lines, at = text.splitlines(), 0
    while at < len(lines):
        fence = re.match(r"```(\w*)\s*$", lines[at])
        start = at + 1 if fence else at
        if fence:
            at = next(end for end in range(start, len(lines)) if lines[end].startswith("```"))
            yield start + 1, fence[1], lines[start:at]
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            while at < len(lines) and lines[at].startswith("    "):
                at += 1
            yield start + 1, "", [line[4:] for line in lines[start:at]]
        at += 1


def without_comment(line):
    """A command up to a # that begins a word outside quotes, and up to the words that a table of commands has."""
    quote = ""
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (at == 0 or line[at - 1].isspace()):
            line = line[:at]
            break
    # docs/testing.md sets its table of commands in two columns, with three spaces or more between.
    return re.sub(r"(?<=[\w\]])\s{3,}[a-z].*$", "", line).strip()


def commands_of_block(first, language, lines):
    """The commands of a block; with a dollar sign before one, what follows it is its output."""
    if lines and lines[0].startswith("import "):
        return [Command(first, "python3 - << 'END'\n" + "\n".join(lines) + "\nEND", [])]
    found, goes_on, dollars = [], False, any(line.startswith("$ ") for line in lines)
    if not language and not dollars and not any(FIRST_WORD.match(line) for line in lines):
        return []
    for number, line in enumerate(lines, first):
        # A synopsis goes on in lines that are indented further.
        if goes_on or (found and not dollars and line.startswith("  ")):
            found[-1].text = found[-1].text.removesuffix("\\").rstrip() + " " + without_comment(line)
        elif dollars and not line.startswith("$ "):
            if found:
                found[-1].output.append(line)
        elif without_comment(line):
            found.append(Command(number, without_comment(line.removeprefix("$ ")), []))
        goes_on = line.endswith("\\")
    return found


def shown_files(text):
    """The files that fenced blocks show under a first line with their names."""
    shown = {}
    for _, language, lines in blocks(text):
        name = FILE_NAME.match(lines[0]) if language and lines else None
        if name:
            shown[name[1]] = "\n".join(lines) + "\n"
    return shown


def commands(text):
    """The commands of a document, in order."""
    return [command for first, language, lines in blocks(text) if language in SHELLS
            for command in commands_of_block(first, language, lines)]


def inline_commands(text):
    """(line, command) of what stands in backquotes and begins with the program's name."""
    return [(number, found[1].replace("\\|", "|")) for number, line in enumerate(text.splitlines(), 1)
            if not line.startswith("    ") for found in INLINE.finditer(line)]
