"""Whether layouts compute what one rank computes, of the published models at sizes that a test affords."""

import os
import pathlib
import re
import subprocess
import tempfile

BRAID = os.environ["BRAID"]
FOLDER = pathlib.Path(os.environ["BRAID_SOURCE_DIR"]) / "configs/published"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

DENSE = ["data=2", "tensor=2", "tensor=2,data=2", "tensor=2,sequence=false", "tensor=2,zero=0",
         "data=3,reduction=library"]
SPARSE = ["tensor=2", "expert=2,data=2", "tensor=2,expert=2", "expert=2,expert_tensor=2",
          "tensor=2,expert=2,expert_tensor=2", "tensor=2,expert=4,sequence=false"]


def layouts_of(name):
    return SPARSE if "experts_per_token" in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8") else DENSE


def verify(name):
    """The worst error of the layouts of a model, by layout; AssertionError where one differs."""
    layouts = layouts_of(name)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([BRAID, "verify", str(FOLDER / f"{name}.yaml"), "--shrink", "--steps", "1",
                               "--layouts", "; ".join(layouts)],
                              cwd=folder, timeout=900, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    rows = [re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == layouts and all(row[3] == "equal" for row in rows), done.stdout
    return {row[0]: float(row[2]) for row in rows}
