#!/usr/bin/env python3
# ctest: labels=unit timeout=180 processors=1
"""The page of braid report in a real browser: every control is used, and the console stays silent."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from chromium import PROGRAM, Browser


def make_run(folder, seed):
    folder.mkdir()
    (folder / "config.yaml").write_text(f"name: {folder.name}\nseed: {seed}\n")
    with open(folder / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(1, 50):
            line = {"step": step, "tokens": 64 * step, "loss": 5 / step + seed, "step_seconds": 0.5}
            file.write(json.dumps(line) + "\n")
    with open(folder / "layers.jsonl", "w", encoding="utf-8") as file:
        for step in (10, 20):
            for layer in range(3):
                line = {"step": step, "layer": layer, "sublayer": "attn", "residual_rms": layer + 1.0}
                file.write(json.dumps(line) + "\n")


def main():
    if PROGRAM is None:
        print("SKIPPED: Chromium is not installed")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for seed in (1, 2):
            make_run(folder / f"run{seed}", seed)
        page = folder / "r.html"
        subprocess.run([os.environ["BRAID"], "report", folder / "run1", folder / "run2", "-o", page], check=True)
        for width, dark in ((1280, False), (400, True)):
            with Browser(width, 900, dark) as browser:
                browser.open(page)
                assert browser.run("document.querySelectorAll('#curves canvas').length") == 1
                assert browser.run("document.documentElement.classList.contains('dark')") == dark
                assert browser.run("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
                browser.run("window.print = () => {}; "
                            "for (const node of document.querySelectorAll('button')) node.click()")
                browser.run("""for (const list of document.querySelectorAll('select'))
                    for (const option of list.options) {
                        list.value = option.value; list.dispatchEvent(new Event('change')); }""")
                browser.run("for (const box of document.querySelectorAll('input')) { box.click(); "
                            "box.dispatchEvent(new Event('input')); }")
                browser.run("dispatchEvent(new Event('beforeprint')); new Promise((done) => setTimeout(done, 300))")
                assert not browser.errors, browser.errors
    print("no error in the console")
    return 0


if __name__ == "__main__":
    sys.exit(main())
