#!/usr/bin/env python3
"""Compares a sublayer with its author's own PyTorch function, in f64: outputs and every gradient.

    python3 tests/support/compare_torch.py THEIRS.py [--build build/cpu] [--bound 1e-9]

THEIRS.py has CONFIG, a text such as

    hidden_size: 16
    documents: [5, 1, 9]
    sublayers: {sub: {type: short_conv, kernel: 3}}

and forward(weights, h), which gives F of one document: h [T, D], weights a dict by the names that Braid gives them
("b.weight"), all torch.float64. Braid's side comes from the test program sublayer_probe (cmake --build --preset cpu
--target sublayer_probe); between both lies one HDF5 file of inputs, weights, outputs and gradients. Needs torch,
which Braid otherwise does not.
"""

import argparse
import importlib.util
import pathlib
import subprocess
import sys
import tempfile

import h5py


def read(path):
    """Everything in the file: arrays by path, and the documents' lengths."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, x: arrays.update({name: x[()]}) if isinstance(x, h5py.Dataset) else None)
        return arrays, [int(n) for n in file.attrs["documents"]]


def probe(build, config, folder):
    """Runs Braid's side; returns what read() does."""
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    subprocess.run([build / "tests" / "sublayer_probe", folder / "config.yaml", folder / "out.h5"], check=True)
    return read(folder / "out.h5")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("theirs", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build/cpu"))
    parser.add_argument("--bound", type=float, default=1e-9,
                        help="largest error relative to a tensor's largest element")
    given = parser.parse_args()
    import torch  # pylint: disable=import-outside-toplevel

    spec = importlib.util.spec_from_file_location("theirs", given.theirs)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    with tempfile.TemporaryDirectory() as folder:
        ours, documents = probe(given.build, theirs.CONFIG, pathlib.Path(folder))
    tensors = {name: torch.tensor(x, dtype=torch.float64) for name, x in ours.items()}
    weights = {name.removeprefix("weights/"): x.requires_grad_()
               for name, x in tensors.items() if name.startswith("weights/")}
    h = tensors["h"].requires_grad_()
    y = torch.cat([theirs.forward(weights, part) for part in torch.split(h, documents)])
    y.backward(tensors["dy"])
    found = {"y": y.detach(), "dh": h.grad} | {f"gradients/{name}": x.grad for name, x in weights.items()}
    worst = 0.0
    for name, x in found.items():
        expected = torch.zeros_like(tensors[name]) if x is None else x
        error = float((tensors[name] - expected).abs().max() / expected.abs().max().clamp_min(1e-300))
        worst = max(worst, error)
        print(f"{name:<32} {error:.2e}{'' if error <= given.bound else '  DIFFERS'}")
    return 0 if worst <= given.bound else 1


if __name__ == "__main__":
    sys.exit(main())
