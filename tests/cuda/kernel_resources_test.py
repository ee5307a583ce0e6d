#!/usr/bin/env python3
# ctest: labels=cuda timeout=120 processors=1
"""Hold what every compiled kernel takes of a multiprocessor against the table beside this file.

    kernel_resources_test.py            compare; a kernel that is new, gone or changed fails
    kernel_resources_test.py --write    write the table anew

Registers and shared memory decide how many blocks run at once, and a stack means that registers did not suffice. The
table holds for one compiler and one architecture, which its first line names; with others the test is skipped.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

TABLE = pathlib.Path(__file__).with_name("kernel_resources.txt")
BUILD = pathlib.Path(os.environ["BRAID_BINARY_DIR"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADING = "{:>9} {:>5} {:>6}  kernel"
SKIPPED = 77


def find_tool(name):
    home = os.environ.get("BRAID_CUDA_HOME", os.path.expanduser("~/.cache/braid"))
    places = [os.environ.get("PATH", ""), "/usr/local/cuda/bin", f"{home}/cuda-13.0/nvidia/cu13/bin",
              f"{home}/cuda-tools-13.2/nvidia/cu13/bin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        sys.exit(f"{name} is not installed; launch/install_deps.sh --cuda installs it")
    return found


def output_of(*command, text=None):
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, timeout=60, encoding="utf-8").stdout


def cached(variable):
    """The value of a variable of the build."""
    match = re.search(rf"^{variable}:\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return match.group(1) if match else ""


def without_parameters(signature):
    """`name<arguments>` of a demangled kernel, less what every kernel's name has."""
    depth = 0
    signature = signature.replace("(anonymous namespace)::", "")
    for at, character in enumerate(signature):
        depth += (character in "<{") - (character in ">}")
        if character == "(" and depth == 0:
            signature = signature[:at]
            break
    # Lambdas carry the parameters of the function they stand in.
    signature = re.sub(r"\([^()]*\)(::\{lambda\([^()]*\))", r"\1", signature)
    return re.sub(r"^void |braid::(ops::)?(cuda::)?", "", signature)


def compiled_kernels():
    """Lines of the table, one a kernel, in the order of files and names."""
    cuobjdump = find_tool("cuobjdump")
    lines = []
    for compiled in sorted(BUILD.glob("CMakeFiles/braid_*.dir/**/*.cu.o")):
        source = compiled.relative_to(BUILD).as_posix().split(".dir/")[1].removesuffix(".o")
        if not (ROOT / source).is_file():
            continue  # left in the build folder by a file that has moved
        listing = output_of("c++filt", text=output_of(cuobjdump, "--dump-resource-usage", str(compiled)))
        kernels = re.findall(r"^ Function (.*):\n\s+REG:(\d+) STACK:(\d+) SHARED:(\d+)", listing, re.MULTILINE)
        lines += sorted((f"{registers:>9} {stack:>5} {shared:>6}  {source} {without_parameters(name)}"
                         for name, registers, stack, shared in kernels), key=lambda line: line.split("  ")[-1])
    return lines


def main():
    version = re.search(r"V([\d.]+)", output_of(cached("BRAID_NVCC"), "--version")).group(1)
    origin = f"nvcc {version}, architecture {cached('CMAKE_CUDA_ARCHITECTURES')}"
    kernels = compiled_kernels()
    assert len(kernels) > 100, f"{len(kernels)} kernels in {BUILD}: is it built?"
    found = [origin, HEADING.format("registers", "stack", "shared"), *kernels]
    if sys.argv[1:] == ["--write"]:
        TABLE.write_text("\n".join(found) + "\n", encoding="utf-8")
        return 0
    expected = TABLE.read_text(encoding="utf-8").splitlines()
    if expected[0] != origin:
        print(f"skipped: the table is of {expected[0]}, this build of {origin}")
        return SKIPPED
    problems = [f"expected {line}" for line in expected if line not in found]
    problems += [f"found    {line}" for line in found if line not in expected]
    problems.sort(key=lambda line: line.split("  ")[-1])
    print("\n".join(problems + [f"{len(kernels)} kernels, {len(problems)} differences"]))
    if problems:
        print(f"where the change is meant, take it over: BRAID_BINARY_DIR={BUILD} {sys.argv[0]} --write")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
