#!/usr/bin/env python3
"""Draw a run's losses beside the entropies of n-gram models, and judge the last validation loss.

    quickstart_report.py METRICS.jsonl INFO.json --margin NATS --png OUT.png

INFO.json is what `braid data info TRAIN --entropy --validation VALID --json` prints.
Exit code 0 when the last validation loss is at least NATS per byte below the trigram entropy, else 1.
"""

import argparse
import json
import math
import os
import subprocess
import sys

PLOT = """
set terminal pngcairo size 1280,800 enhanced font 'DejaVu Sans,15' background '#ffffff'
set output '{png}'
set xlabel 'training tokens (millions)'
set ylabel 'loss (nats per byte)'
set border 3 lc rgb '#555555'
set tics nomirror textcolor rgb '#333333'
set grid ytics lc rgb '#e4e4e4' lt 1
set xrange [0:{last}]
set yrange [{low}:{high}]
set rmargin 22
unset key
{labels}
plot {bigram} lc rgb '#999999' dt 2 lw 2, {trigram} lc rgb '#999999' dt 2 lw 2, \\
     '-' using 1:2 with lines lc rgb '#6baed6' lw 1, \\
     '-' using 1:2 with linespoints lc rgb '#b2182b' lw 3 pt 7 ps 1
"""


def read_curves(path):
    """([(tokens, training loss)], [(tokens, validation loss)]) of a metrics file."""
    training, validation = [], []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if "loss" in record:
                training.append((record["tokens"] / 1e6, record["loss"]))
            validation += [(record["tokens"] / 1e6, value) for key, value in record.items()
                           if key.startswith("eval/") and key.endswith("/loss")]
    return training, validation


def apart(heights, distance):
    """The heights, moved up where one would come closer than that to the one below it."""
    moved, below = {}, -math.inf
    for height in sorted(heights):
        below = moved[height] = max(height, below + distance)
    return [moved[height] for height in heights]


def label_lines(curves, training, last, span):
    """gnuplot's labels: beside the end of each curve its name, and of the training loss where it falls slowly."""
    lines = []
    heights = apart([height for _, height, _ in curves], 0.05 * span)
    for (name, height, colour), at in zip(curves, heights, strict=True):
        lines.append(f"set label '{name} {height:.3f}' at {last},{at} left offset 1,0 textcolor rgb '{colour}'")
    middle = training[len(training) // 4]
    lines.append(f"set label 'training' at {middle[0]},{middle[1] + 0.06 * span} left textcolor rgb '#3182bd'")
    return "\n".join(lines)


def draw(png, training, validation, bigram, trigram):
    final, last = validation[-1][1], max(training[-1][0], validation[-1][0])
    low = min(final, trigram) - 0.25
    high = max(loss for _, loss in training + validation) + 0.15
    curves = [("bigram model", bigram, "#777777"), ("trigram model", trigram, "#777777"),
              ("validation", final, "#b2182b")]
    script = PLOT.format(png=png, last=last, bigram=bigram, trigram=trigram, low=low, high=high,
                         labels=label_lines(curves, training, last, high - low))
    for curve in (training, validation):
        script += "".join(f"{tokens} {loss}\n" for tokens, loss in curve) + "e\n"
    subprocess.run(["gnuplot", "-d"], input=script.encode(), check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("metrics")
    parser.add_argument("info")
    parser.add_argument("--margin", type=float, required=True)
    parser.add_argument("--png", required=True)
    options = parser.parse_args()
    with open(options.info, encoding="utf-8") as file:
        entropy = json.load(file)["entropy"]
    bigram, trigram = entropy["bigram"], entropy["trigram"]
    training, validation = read_curves(options.metrics)
    if not training or not validation:
        sys.exit(f"{options.metrics}: expected losses of training and validation, "
                 f"found {len(training)} and {len(validation)}")
    partial = f"{options.png}.partial"
    draw(partial, training, validation, bigram, trigram)
    os.replace(partial, options.png)
    final = validation[-1][1]
    enough = final <= trigram - options.margin
    print(f"validation loss {final:.4f} nats per byte after {validation[-1][0]:.2f} million tokens; "
          f"bigram model {bigram:.4f}, trigram model {trigram:.4f}")
    print(f"{trigram - final:.4f} below the trigram model, {options.margin:.2f} expected: "
          f"{'passed' if enough else 'FAILED'}")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
