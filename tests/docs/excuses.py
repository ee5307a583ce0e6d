"""What is run in the place of commands that a test cannot run: what can be known of them without.

Each function takes a command's text and returns shell text that fails where the command names what does not exist."""

import re
import shlex

OPTION = re.compile(r"(?<!\S)--?[a-z][\w-]*")
SOURCE = '"$BRAID_SOURCE_DIR"'


def nothing(_):
    """For commands of which nothing here is part."""
    return "true"


def options_in(*files):
    """Every option stands in one of these files, which parse them."""
    def check(text):
        paths = " ".join(f"{SOURCE}/{file}" for file in files)
        found = [f"grep -qwF -e {option} {paths}" for option in OPTION.findall(text)]
        return " && ".join([f"ls {paths} > /dev/null", *found])
    return check


def script(text):
    """The script can be started, and knows every option."""
    name = shlex.split(text)[0].removeprefix("./")
    return f"test -x {SOURCE}/{name} && " + options_in(name)(text)


def files(text):
    """Files of the tree that the command names are there."""
    named = re.findall(r"(?<!\S)(?:tests|launch|bench|configs)/\S+", text)
    return " && ".join(f"test -f {SOURCE}/{name}" for name in named) or "false # names no file"


def printed(text):
    """The launcher takes its options, and the run file its overrides with as many ranks."""
    launch, config = re.fullmatch(r"(.*braid-mpirun .*)braid train (.*)", text).groups()
    ranks = re.search(r"-n (\d+)", launch)[1]
    start = text.replace("braid-mpirun", "braid-mpirun --print", 1)
    return f"{start} && braid config check {config} --ranks {ranks} --without-data"


def built(text):
    """Presets and targets exist, and so does a program that is run after them."""
    return " && ".join(map(built_part, text.split(" && ")))


def built_part(text):
    words = shlex.split(text)
    if words[0] != "cmake":
        return f"test -x {words[0]}"
    preset = words[words.index("--preset") + 1]
    listing = "cmake --build --list-presets" if "--build" in words else "cmake --list-presets"
    parts = [f"(cd {SOURCE} && {listing} | grep -F '\"{preset}\"')"]
    if "--target" in words:
        parts.append(f"cmake --build build/cpu --target {words[words.index('--target') + 1]} -- -n > /dev/null")
    return " && ".join(parts)


def tests_listed(text):
    """The preset is one, and the selection finds tests in the build folder's list."""
    selection = text.removeprefix("ctest --preset cpu ")
    return f"(cd {SOURCE} && ctest --list-presets | grep -F '\"cpu\"') && " \
        f"ctest --test-dir build/cpu -N --no-tests=error {selection} > tests.txt"
