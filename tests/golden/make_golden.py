#!/usr/bin/env python3
"""Writes tests/golden/models/FAMILY.h5: what Hugging Face transformers computes for a tiny model of each family.

    python3 -m venv venv && venv/bin/pip install -r tests/golden/requirements.txt
    venv/bin/python tests/golden/make_golden.py [FAMILY ...] [--out FOLDER]

A file holds, under Braid's names and in Braid's layout (golden_maps.py): documents in a row, their labels, random
parameters that f32 holds exactly, and from transformers in f64 the logits, the mean loss, every gradient, and the
parameters after one step of torch.optim.AdamW; then how far transformers is off in f32, at most over sixteen orders of
summation. Models run document by document, so that nothing can cross a border. Running it twice gives the same bytes.

transformers computes norms, softmax, rotary positions, recurrences and routers in f32 whatever the model's dtype. For
the f64 run a torch function mode answers every request for f32 with f64; no file of transformers is changed.
"""

import argparse
import pathlib
import zlib

import h5py
import numpy as np
import torch
import transformers
from golden_families import FAMILIES
from golden_maps import NO_DECAY, OPTIMIZER, VOCABULARY, Flat, Sections
from torch.overrides import TorchFunctionMode

DOCUMENTS = [70, 1, 13, 37, 2]  # one longer than a chunk of the recurrences, one of a single token
PINNED = {"torch": "2.15.0", "transformers": "5.24.0", "h5py": "3.16.0", "numpy": "2.4.6"}


F32_RUNS = 16
PRODUCTS = {torch.nn.functional.linear: -1, torch.matmul: -2, torch.bmm: -2, torch.Tensor.matmul: -2,
            torch.Tensor.__matmul__: -2, torch.Tensor.bmm: -2}  # the dimension that the second factor is summed over


class OtherOrder(TorchFunctionMode):
    """Takes the sums of products in a random order, which changes nothing but roundings."""

    def __init__(self, random):
        super().__init__()
        self.random = random

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in PRODUCTS:
            order = torch.from_numpy(self.random.permutation(args[0].shape[-1]))
            args = (args[0].index_select(-1, order), args[1].index_select(PRODUCTS[func], order), *args[2:])
        return func(*args, **(kwargs or {}))


class WideFloats(TorchFunctionMode):
    """Gives f64 where f32 is asked for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args = tuple(torch.float64 if x is torch.float32 else x for x in args)
        kwargs = {key: torch.float64 if x is torch.float32 else x for key, x in (kwargs or {}).items()}
        return func(*args, **kwargs)


def generator(*words):
    """Random numbers that depend on these words alone."""
    return np.random.Generator(np.random.PCG64(zlib.crc32("/".join(map(str, words)).encode())))


def parts_of(x, ours):
    """{Braid's name within the layer: tensor} of one tensor of transformers."""
    if isinstance(ours, str):
        return {ours: x}
    if isinstance(ours, Flat):
        return {ours.name: x.reshape(-1)}
    assert isinstance(ours, Sections)
    rows = x.reshape(x.shape[0], -1) if x.dim() > 1 else x
    found, first = {}, 0
    groups = rows.reshape(ours.groups, -1, *rows.shape[1:])
    for name, count in ours.parts.items():
        found[name] = groups[:, first:first + count].reshape(-1, *rows.shape[1:])
        first += count
    assert first == groups.shape[1], f"{first} of {groups.shape[1]} rows of a group are named"
    return found


def places(family):
    """{transformers' name: (Braid's prefix, Braid's name or parts)} of the whole model."""
    found = {theirs: ("", ours) for theirs, ours in family.outside.items()}
    for i, names in enumerate(family.layers):
        found |= {f"model.layers.{i}.{theirs}": (f"layers.{i}.", ours) for theirs, ours in names.items()}
    return found


def to_braid(family, tensors):
    """The tensors of transformers, a dict by name, as Braid has them. Every one has its place, and each place one."""
    where = places(family)
    assert set(where) == set(tensors), f"not in both: {sorted(set(where) ^ set(tensors))}"
    found = {}
    for theirs, x in tensors.items():
        prefix, ours = where[theirs]
        for name, part in parts_of(x, ours).items():
            assert prefix + name not in found, f"{prefix + name} comes twice"
            found[prefix + name] = part.detach().cpu().numpy()
    return dict(sorted(found.items()))


def buffers_of(family, model):
    """{Braid's name: buffer} of the buffers that are not derived from the config."""
    found = {}
    for name, x in model.named_buffers():
        for theirs, ours in family.buffers.items():
            if name.endswith("." + theirs):
                layer = name.removeprefix("model.layers.").split(".", maxsplit=1)[0]
                found[f"layers.{layer}.{ours}"] = x
    return found


def random_value(family, name, shape):
    """What a parameter of transformers starts from: nothing at 0 or 1, where a forgotten use would not show."""
    random = generator(family.seed, family.model_class, name)
    normal = random.standard_normal(shape)
    last = name.split(".")[-2] if name.endswith(".weight") else name.rsplit(".", maxsplit=1)[-1]
    if "norm" in last:
        value = 0.3 * normal + (0 if family.zero_centered and "linear_attn.norm" not in name else 1)
    elif last == "A_log":
        value = np.log(random.uniform(0.1, 3, shape))
    elif last in ("dt_bias", "bias", "D"):
        value = 0.7 * normal
    elif last in ("embed_tokens", "embeddings"):
        value = normal * (0.4 if family.config["tie_word_embeddings"] else 1)
    elif last == "gate":  # a router: choices of experts that no rounding turns over
        value = 1.5 * normal
    else:
        value = 0.7 * normal / np.sqrt(shape[-1])  # larger ones would make f32 lose most digits on the way back
    return value.astype(np.float32)


def build(family, dtype):
    """The model, with its random parameters, in a dtype."""
    torch.set_default_dtype(dtype)
    config = getattr(transformers, family.config_class)(**family.config)
    config._attn_implementation = "eager"  # pylint: disable=protected-access
    config._experts_implementation = "eager"  # pylint: disable=protected-access
    model = getattr(transformers, family.model_class)(config).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(random_value(family, name, tuple(parameter.shape))))
        for name, buffer in buffers_of(family, model).items():
            values = 0.4 * generator(family.seed, family.model_class, name).standard_normal(tuple(buffer.shape))
            buffer.copy_(torch.from_numpy(values.astype(np.float32)))
        if family.model_class == "Gemma2ForCausalLM":
            model.model.embed_tokens.embed_scale.fill_(1)  # see its set_off
    return model


def run(family, model, tokens, labels):
    """Logits [T, V] and the mean loss; gradients are left in the model."""
    logits = torch.cat([model(input_ids=part[None], use_cache=False).logits[0] for part in tokens.split(DOCUMENTS)])
    loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        assert torch.isfinite(parameter.grad).all(), f"{family.model_class}: {name}"
    return logits.detach().numpy(), loss.item()


def relative_error(found, expected):
    """||found - expected|| / ||expected||, 0 where nothing is expected and found."""
    difference, size = np.linalg.norm(found.astype(np.float64) - expected), np.linalg.norm(expected)
    return float(difference / size) if size > 0 else float(difference)


def narrow_errors(name, family, tokens, labels, logits, gradients):
    """The largest relative error of the logits, and of each gradient, in f32 over several orders of summation: one
    run is off by luck, now half as much, now twice, and most of its gradients with it."""
    of_logits, of_gradients = [], []
    for i in range(F32_RUNS):
        model = build(family, torch.float32)
        with OtherOrder(generator(family.seed, name, "order", i)):
            found, _ = run(family, model, tokens, labels)
        of_logits.append(relative_error(found, logits))
        narrow = gradients_of(family, model)
        of_gradients.append([relative_error(narrow[key], x) for key, x in gradients.items()])
    worst = max(of_logits)
    assert 1e-9 < worst < 1e-4, f"f32 is off by {worst}: another expert, or not computed in two precisions"
    return worst, dict(zip(gradients, np.max(of_gradients, axis=0)))


def gradients_of(family, model):
    return to_braid(family, {name: x.grad for name, x in model.named_parameters()})


def values_of(family, model):
    return to_braid(family, dict(model.named_parameters()))


def step(family, model):
    """One step of AdamW, with decay on what Braid decays."""
    where = places(family)
    groups = {True: [], False: []}
    for name, x in model.named_parameters():
        groups[not any(part.endswith(NO_DECAY) for part in parts_of(x, where[name][1]))].append(x)
    torch.optim.AdamW([{"params": groups[True]}, {"params": groups[False], "weight_decay": 0}], **OPTIMIZER,
                      foreach=False).step()


def write(path, family, data):
    """All of it into one file. Braid's reader takes neither filters nor strings of any length."""
    path.unlink(missing_ok=True)
    with h5py.File(path, "w", libver="latest") as file:
        for key, value in data["attributes"].items():
            file.attrs[key] = np.bytes_(value) if isinstance(value, str) else value
        for key in ("tokens", "labels", "logits"):
            file.create_dataset(key, data=data[key], track_times=False)
        for group in ("parameters", "gradients", "updated", "buffers"):
            for name, x in data[group].items():
                dataset = file.create_dataset(f"{group}/{name}", data=x, track_times=False)
                if group == "gradients":
                    dataset.attrs["f32_error"] = data["f32_errors"][name]
    print(f"{path.name:<16} {path.stat().st_size / 1024:6.1f} KB, loss {data['attributes']['loss']:.4f}, f32 error of "
          f"logits {data['attributes']['f32_error']:.1e}, of gradients up to {max(data['f32_errors'].values()):.1e}"
          f"{'; without ' + family.set_off if family.set_off else ''}")


def make(name, family, folder):
    """Writes one file."""
    random = generator(family.seed, name, "tokens")
    count = sum(DOCUMENTS)
    tokens = torch.from_numpy(random.integers(VOCABULARY, size=count))
    labels = torch.from_numpy(random.integers(VOCABULARY, size=count))
    labels[[5, DOCUMENTS[0] - 1, count - 1]] = -1  # no labels
    with WideFloats():
        wide = build(family, torch.float64)
        logits, loss = run(family, wide, tokens, labels)
    gradients = gradients_of(family, wide)
    assert logits.dtype == np.float64 and all(x.dtype == np.float64 for x in gradients.values())
    parameters = {key: x.astype(np.float32) for key, x in values_of(family, wide).items()}
    f32_error, f32_errors = narrow_errors(name, family, tokens, labels, logits, gradients)
    step(family, wide)
    write(folder / f"{name}.h5", family, {
        "attributes": {"family": name, "model_class": family.model_class, "config": family.braid,
                       "set_off": family.set_off or "nothing", "torch": torch.__version__.split("+", maxsplit=1)[0],
                       "transformers": transformers.__version__, "documents": np.array(DOCUMENTS, np.int64),
                       "loss": loss, "f32_error": f32_error},
        "tokens": tokens.numpy().astype(np.int32), "labels": labels.numpy().astype(np.int32), "logits": logits,
        "parameters": parameters, "gradients": gradients, "updated": values_of(family, wide),
        "buffers": {key: x.numpy().astype(np.float32) for key, x in buffers_of(family, wide).items()},
        "f32_errors": f32_errors})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", nargs="*", choices=[[], *FAMILIES], default=[])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "models")
    given = parser.parse_args()
    found = {"torch": torch.__version__.split("+", maxsplit=1)[0], "transformers": transformers.__version__,
             "h5py": h5py.__version__, "numpy": np.__version__}
    for name, version in PINNED.items():
        if found[name] != version:
            print(f"note: {name} {found[name]} instead of {version}: the last bits may differ")
    torch.set_num_threads(1)  # sums in the same order on every machine
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.family or FAMILIES:
        make(name, FAMILIES[name], given.out)


if __name__ == "__main__":
    main()
