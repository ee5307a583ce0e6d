#!/usr/bin/env python3
"""Draw a run's losses beside the entropies of n-gram models, and judge the last validation loss.

    quickstart_report.py METRICS.jsonl INFO.json --margin NATS --png OUT.png

INFO.json is what `braid data info TRAIN --entropy --validation VALID --json` prints.
Exit code 0 when the last validation loss is at least NATS per byte below the trigram entropy, else 1.
"""

import argparse
import json
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
set key top right spacing 1.4
set label 1 'bigram model, {bigram:.3f}' at {last},{bigram} right offset -0.5,0.6 textcolor rgb '#777777'
set label 2 'trigram model, {trigram:.3f}' at {last},{trigram} right offset -0.5,0.6 textcolor rgb '#777777'
set label 3 '{final:.3f}' at {last},{final} right offset -0.5,-1.0 textcolor rgb '#b2182b'
plot {bigram} notitle lc rgb '#999999' dt 2 lw 2, {trigram} notitle lc rgb '#999999' dt 2 lw 2, \\
     '-' using 1:2 with lines title 'training' lc rgb '#9ecae1' lw 1, \\
     '-' using 1:2 with linespoints title 'validation' lc rgb '#b2182b' lw 3 pt 7 ps 1
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


def draw(png, training, validation, bigram, trigram):
    final = validation[-1][1]
    script = PLOT.format(png=png, last=max(training[-1][0], validation[-1][0]), bigram=bigram, trigram=trigram,
                         final=final, low=min(final, trigram) - 0.25, high=max(bigram + 1.2, 3.6))
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
