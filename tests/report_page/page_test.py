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

HOSTILE = "</script></pre><img src=x onerror='window.injected = true'>"


def make_run(folder, seed):
    folder.mkdir()
    (folder / "config.yaml").write_text(f"name: {folder.name}\nseed: {seed}\n")
    with open(folder / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(1, 50):
            line = {"step": step, "tokens": 64 * step, "loss": 5 / step + seed, "step_seconds": 0.5}
            if step % 10 == 0:
                line |= {"task/quiz/accuracy": step / 100, "task/quiz/accuracy_stderr": 0.05,
                         "task/quiz/bits_per_byte": 50 / step}
            file.write(json.dumps(line) + "\n")
    with open(folder / "layers.jsonl", "w", encoding="utf-8") as file:
        for step in (10, 20):
            for layer in range(3):
                line = {"step": step, "layer": layer, "sublayer": "attn", "residual_rms": layer + 1.0}
                file.write(json.dumps(line) + "\n")
    with open(folder / "samples.jsonl", "w", encoding="utf-8") as file:
        for step in (10, 20):
            file.write(json.dumps({"step": step, "prompt": "Once ", "text": HOSTILE}) + "\n")


def check_tasks(browser):
    """A metric is chosen, and the page says in what it is and what is better."""
    captions = []
    for metric in ("task/quiz/accuracy", "task/quiz/bits_per_byte"):
        browser.run(f"""(() => {{ const list = document.querySelector('#tasks select');
            list.value = '{metric}'; list.dispatchEvent(new Event('change')); }})()""")
        browser.run("new Promise((done) => setTimeout(done, 100))")
        captions.append(browser.run("document.querySelector('#tasks figcaption').textContent"))
    assert captions == ["Accuracy on quiz percent, higher is better; exploratory",
                        "bits per byte on quiz lower is better; exploratory"], captions
    assert browser.run("document.querySelectorAll('#tasks canvas').length") == 1
    assert "40.0 ± 5.0 %" in browser.run("document.querySelector('#numbers table').textContent")


def check_samples(browser):
    """Newest first, and nothing that a run wrote becomes a part of the page."""
    titles = browser.run("[...document.querySelectorAll('#samples details:first-of-type h3')].map((one) => "
                         "one.textContent).join()")
    assert titles == "step 20,step 10", titles
    assert browser.run("document.querySelector('#samples pre').textContent") == "Once " + HOSTILE
    assert browser.run("document.querySelector('#samples img')") is None
    assert not browser.run("window.injected === true")


def check_cost(browser):
    """Two runs of 49 half seconds on one rank each."""
    cells = browser.run("[...document.querySelectorAll('#speed tbody tr:last-child > *')].map((one) => "
                        "one.textContent).join()")
    hours = 2 * 49 * 0.5 / 3600
    assert cells == f"total,2,{hours:.4g},{hours:.4g},{100 * hours:.2f}", cells


def check_spike(browser, folder):
    """The one spike of a thinned curve is drawn at its own step, not at the end of its part."""
    run = folder / "spike"
    run.mkdir(exist_ok=True)
    (run / "config.yaml").write_text("name: spike\n")
    lines = [{"step": step, "tokens": 64 * step, "loss": 99 if step == 4321 else 1} for step in range(1, 10001)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([os.environ["BRAID"], "report", run, "-o", folder / "spike.html"], check=True)
    browser.open(folder / "spike.html")
    browser.run("new Promise((done) => setTimeout(done, 300))")
    for axis, scale in (("step", 1), ("tokens", 64)):
        browser.run(f"document.querySelector('#curves button[data-value={axis}]').click()")
        greatest = browser.run("""Chart.getChart(document.querySelector('#curves canvas')).data.datasets
            .flatMap((set) => set.data).reduce((a, b) => (b.y > a.y ? b : a))""")
        assert (greatest["x"], greatest["y"]) == (4321 * scale, 99), greatest


def check_print(browser, page):
    """On paper no control is seen, nothing is dark, and nothing is wider than it."""
    browser.open(page)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.call("Emulation.setEmulatedMedia", media="print")
    seen = browser.run("[...document.querySelectorAll('.controls, #tools')].filter((one) => "
                       "getComputedStyle(one).display !== 'none').length")
    assert seen == 0, f"{seen} controls are printed"
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    widest = browser.run("Math.max(...[...document.querySelectorAll('main *')].map((one) => "
                         "one.getBoundingClientRect().right))")
    assert widest <= 1041, f"something ends at {widest} of 1040 pixels"
    split = browser.run("[...document.querySelectorAll('figure')].filter((one) => "
                        "getComputedStyle(one).breakInside !== 'avoid').length")
    assert split == 0, f"{split} charts may be split over pages"
    browser.call("Emulation.setEmulatedMedia", media="screen")
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert not browser.run("document.documentElement.classList.contains('print')")


def main():
    if PROGRAM is None:
        print("SKIPPED: Chromium is not installed")
        return 77
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for seed in (1, 2):
            make_run(folder / f"run{seed}", seed)
        page = folder / "r.html"
        subprocess.run([os.environ["BRAID"], "report", folder / "run1", folder / "run2", "-o", page,
                        "--price", "100"], check=True)
        for width, dark in ((1280, False), (400, True)):
            with Browser(width, 900, dark) as browser:
                browser.open(page)
                assert browser.run("document.querySelectorAll('#curves canvas').length") == 1
                assert browser.run("document.documentElement.classList.contains('dark')") == dark
                assert browser.run("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
                check_tasks(browser)
                check_samples(browser)
                check_cost(browser)
                browser.run("window.print = () => {}; "
                            "for (const node of document.querySelectorAll('button')) node.click()")
                browser.run("""for (const list of document.querySelectorAll('select'))
                    for (const option of list.options) {
                        list.value = option.value; list.dispatchEvent(new Event('change')); }""")
                browser.run("for (const box of document.querySelectorAll('input')) { box.click(); "
                            "box.dispatchEvent(new Event('input')); }")
                browser.run("dispatchEvent(new Event('beforeprint')); new Promise((done) => setTimeout(done, 300))")
                assert not browser.errors, browser.errors
            with Browser(width, 900, dark) as browser:  # which remembers nothing of what was clicked
                check_print(browser, page)
                check_spike(browser, folder)
                assert not browser.errors, browser.errors
    print("no error in the console")
    return 0


if __name__ == "__main__":
    sys.exit(main())
