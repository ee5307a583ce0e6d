"""How the commands of each document are run: what files they find, what is changed in them, what runs instead, and why.

A command that no rule matches runs as it stands; of several rules the first counts. A rule that no command has, and a
change that finds nothing to change, fail the test, so what stands here is still true of the documents."""

import dataclasses

import excuses


@dataclasses.dataclass(frozen=True)
class Rule:
    match: str  # stands in the commands that this is about
    why: str
    swap: dict = dataclasses.field(default_factory=dict)  # parts of the command, and what is run in their place
    add: str = ""  # at the command's end
    before: str = ""  # shell text that runs first
    each: tuple = ()  # (part, pattern): run for all that the pattern finds in the document, in the part's place
    exits: int = 0
    shows: str = ""  # a pattern that the output has to have
    same_output: bool = False  # the output is what the document shows
    instead: object = None  # of excuses.py: not run, but checked so
    slow: dict = None  # run with these swaps where there is time, and not excused


@dataclasses.dataclass(frozen=True)
class Document:
    files: dict = dataclasses.field(default_factory=dict)  # what a reader has: names and texts
    patches: dict = dataclasses.field(default_factory=dict)  # {file: {part: other part}} of shown files and configs
    before: str = ""  # shell text: what a reader has done before
    rules: tuple = ()
    texts: tuple = ()  # in backquotes, beginning as commands do, and none


# The quickstart's model, so that names of sublayers are those that documents use, at a size that takes a moment.
TINY = """\
extends: configs/quickstart.yaml
name: {name}
model: {{hidden_size: 16}}
train: {{steps: 4, sequence_length: 32, global_batch: 2, micro_batch: 1}}
optimizer: {{schedule: {{warmup_steps: 1, min_lr: null}}}}
data: {{train: [{{path: train.h5}}], validation: {{dictionary: {{path: valid.h5}}}}}}
checkpoint: {{every: 2, keep: 9}}
eval: {{every: 2, tokens: 256}}
"""
DATA = "cp data-cache/quickstart/*.h5 .\n"
CUT = " train.steps=2 train.sequence_length=64 train.global_batch=2 train.micro_batch=1 eval.tokens=256" \
    " optimizer.schedule.warmup_steps=1"
TAKES_MINUTES = "two steps of two short sequences: the whole run takes minutes"
ITS_TESTS = "installs and builds for many minutes"


def tiny(*names):
    return {f"{name}.yaml": TINY.format(name=name) for name in names}


SYNOPSIS = "a synopsis: placeholders get values, and what may be left out is there"
BUNDLE = "launch.bundle makes and runs a bundle, which takes minutes"
IN_BUNDLE = "the program of the build stands for the bundle's, which is the same"
NO_HOSTS = "there are no such hosts; the launcher prints what it would start"
# From the tree, as it copies the documents too.
DIST = {"launch/bundle.sh": '"$BRAID_SOURCE_DIR"/launch/bundle.sh --program "$BRAID" -o .'}

# The demo sweeps' base, in a moment.
DEMO = {"train: {steps: 300, sequence_length: 256, global_batch: 8}":
        "train: {steps: 2, sequence_length: 32, global_batch: 2}", "warmup_steps: 30": "warmup_steps: 1",
        "eval: {every: 100, tokens: 65536}": "eval: {every: 2, tokens: 64}"}

DOCUMENTS = {
    "docs/ablations/norms.md": Document(
        patches={
            "configs/sweeps/base-demo.yaml": DEMO,
            # One learning rate is too small and one too large: the grid need not grow.
            "configs/sweeps/norms-tuned.yaml": {"[pre, post, sandwich]": "[pre, sandwich]", "seeds: 4\n": "seeds: 2\n",
                                                "[2.0e-3, 4.0e-3, 8.0e-3, 1.6e-2]": "[1.0e-9, 2.0e-3, 9.0]"}},
        rules=(Rule("quickstart.sh", ITS_TESTS, instead=excuses.script),)),
    "docs/ablations/ratio.md": Document(
        patches={"configs/sweeps/base-demo.yaml": DEMO,
                 "configs/sweeps/ratio-recall.yaml": {
                     "train: {steps: 1000, sequence_length: 128, global_batch: 24}":
                     "train: {steps: 2, sequence_length: 32, global_batch: 2}", "seeds: 4": "seeds: 2"}},
        rules=(Rule("synth recall", "60000 documents are more than a moment's", swap={"60000": "3000"}),)),
    "README.md": Document(
        files=tiny("my"),
        before="mkdir texts && cp data-cache/notes.jsonl texts",
        rules=(
            Rule("braid train configs/quickstart.yaml", TAKES_MINUTES, add=CUT),
            Rule("./launch/quickstart.sh", ITS_TESTS, instead=excuses.script),
            Rule("./launch/test.sh", "runs this test, and hours of others", instead=excuses.script),
            Rule("source launch/env.sh", "shows that the programs are on the PATH then",
                 before="PATH=/usr/bin:/bin", add=" && command -v braid && command -v braid-mpirun"),
            Rule("braid generate runs/my", "the run has four steps", swap={"step-00001000": "step-00000004"}),
        )),
    "docs/architectures.md": Document(rules=(
        Rule("-n 128", "128 ranks and a model of seven billion parameters", instead=excuses.printed),
    )),
    "docs/checkpoints.md": Document(
        files=tiny("nano"),
        before=DATA + "braid train nano.yaml checkpoint.every=2",
        rules=(
            Rule("checkpoint info", "also with the options that the comment names",
                 add=" && braid checkpoint info runs/nano --tensors && braid checkpoint info runs/nano --config"),
            Rule("diff A B", "A and B stand for two checkpoints; these differ", exits=1,
                 swap={"A B": "runs/nano/checkpoints/step-00000002 runs/nano"}),
            Rule("import h5py", "the run has four steps", swap={"step-00000100": "step-00000004"}),
            Rule("manifest.json", "the last line has to say the same", before="cd runs/nano/checkpoints/step-00000004",
                 add=" | cut -d' ' -f1 | grep -qf - <(tail -n 1 manifest.json)"),
        )),
    "docs/commands.md": Document(
        files=tiny("nano") | {
            "three-to-one.yaml": "extends: configs/quickstart.yaml\n",
            "one-to-one.yaml": 'extends: configs/quickstart.yaml\nmodel: {pattern: "gdn+moe, attn+moe"}\n'},
        before=DATA + "braid train nano.yaml",
        rules=(
            Rule("config diff", "the models are the quickstart's and its variant", same_output=True),
            Rule("worst_sequences", "the run has four steps", swap={"1347p": "3p"}, shows="worst_sequences"),
            Rule("--sample 21537", "the run has eight samples", swap={"21537": "5"}),
            Rule("braid replay", "the run has four steps", swap={"1347": "3"}, shows="attention_entropy"),
        )),
    "docs/data.md": Document(
        texts=("braid tokens 1",),
        before="gzip < data-cache/notes.txt > notes.dz",
        rules=(
            Rule("data build INPUT…", SYNOPSIS, swap={
                "INPUT…": "data-cache/notes.txt", "auto|text|jsonl": "text", "--text-field NAME": "--text-field text",
                "REGEX": "'\\S'", "bytes N": "bytes 1000", "fraction F": "fraction 0.1", "[": "", "]": ""}),
            Rule("gcide.dict.dz", "the dictionary need not be installed; a small file is packed as it is",
                 swap={"/usr/share/dictd/gcide.dict.dz": "notes.dz"}),
            Rule("synth recall", SYNOPSIS,
                 swap={"[": "", "]": "", "documents N": "documents 20", "test-documents M": "test-documents 5"}),
            Rule("synth copy", SYNOPSIS, swap={
                "[--symbols K]": "--symbols 16",
                "…": "-o copy.h5 --test copy-test.h5 --documents 20 --test-documents 5"}),
            Rule("synth parity", SYNOPSIS,
                 swap={"…": "-o parity.h5 --test parity-test.h5 --documents 20 --test-documents 5"}),
        )),
    "docs/initialization.md": Document(files=tiny("my"), before=DATA),
    "docs/install.md": Document(
        files=tiny("run"), before=DATA,
        rules=(
            Rule("install_deps.sh", "installs packages", instead=excuses.script),
            Rule("cmake", "a build takes many minutes", instead=excuses.built),
            Rule("--preset cuda --tests", "needs a build for GPUs", instead=excuses.script),
            Rule("launch/bundle.sh", BUNDLE, instead=excuses.script, slow=DIST),
            Rule("tar -xJf", BUNDLE, instead=excuses.nothing, slow={"tar -xJf": "rm -rf braid-bundle && tar -xJf"}),
            Rule("bin/braid train", IN_BUNDLE, slow={}, swap={"braid-bundle/bin/": ""}),
        )),
    "docs/launch.md": Document(
        files={"config.yaml": TINY.format(name="config").replace("global_batch: 2", "global_batch: 8")},
        before=DATA + "cp launch/examples/hosts .",
        rules=(
            Rule("--hostfile", NO_HOSTS, instead=excuses.printed),
            Rule("--host node01", NO_HOSTS, instead=excuses.printed),
        )),
    "docs/mixers.md": Document(
        files=tiny("my"), before=DATA,
        rules=(
            Rule("name=swap", TAKES_MINUTES + "; every mixer of the table, each in a new folder",
                 each=("M", r"(?m)^\| `(\w+, [^`]+)` \|"), before="rm -rf runs/swap",
                 swap={" train.steps=100": ""}, add=CUT),
        )),
    "docs/parallelism.md": Document(rules=(
        Rule("tensor=2,expert=4,zero=0", "errors are rounding and differ by processor",
             shows=r"(?s)tensor=2 +2 .* equal.*expert=2,data=2 +4 .* equal.*tensor=2,expert=4,zero=0 +8 .* equal"),
        Rule("parallel.tensor=3", "the layout does not fit", exits=2,
             shows=r"(?s)num_key_heads: 2 cannot be shared out over parallel.tensor: 3; tensor may be 1, 2.*"
             r"layouts that would work on 6 ranks: parallel.data=3 parallel.tensor=2; parallel.data=6;"),
        Rule("verify CONFIG", SYNOPSIS, swap={
            "CONFIG": "configs/quickstart.yaml", "[k=v…]": "optimizer.clip=0.5", "; …": "", "f64|f32": "f32", "[": "",
            "]": ""}),
    )),
    "docs/performance.md": Document(rules=(
        Rule("cmake --build", "a build takes many minutes", instead=excuses.built),
        Rule("bench_hybrid_moe 5", "takes 4 GB and a minute", instead=excuses.built,
             slow={"bench_hybrid_moe 5": "bench_hybrid_moe 1"}),
        Rule("bench_gpu_kernels", "needs a GPU", instead=excuses.options_in("bench/gpu_kernels.cpp")),
        Rule("bench/data_parallel.sh", "builds, and takes minutes alone on the machine", instead=excuses.script),
    )),
    "docs/report.md": Document(
        files=tiny("a", "b", "c") | {"norms.yaml": """\
extends: a.yaml
axes: {placement: {key: model.norm.placement, values: [pre, post]}}
reference: {placement: pre}
seeds: 2
matters: 0.01
"""},
        before=DATA + "for name in a b c; do braid train $name.yaml; done; braid sweep norms.yaml"),
    "docs/runs.md": Document(
        files=tiny("nano", "stable", "tune"),
        before=DATA + "braid train nano.yaml && braid train stable.yaml optimizer.schedule.type=constant",
        rules=(
            Rule("--sample 1347", "the run has eight samples", swap={"1347": "3"}),
            Rule("pip install", "needs a network", instead=excuses.nothing),
            Rule("wandb_follow.py", "needs W&B's package; launch.wandb_follow has a stand-in", instead=excuses.script),
            Rule("train.steps=1000", "few steps, in a new folder: other paragraphs are of runs with another schedule",
                 before="rm -r runs/nano", swap={"1000": "4"}),
            Rule("train.steps=2000", "few steps", swap={"2000": "6"}, shows="(?s)step 5/6.*step 6/6"),
            Rule("data show runs/nano --step", "few steps", swap={"1347": "3"}),
            Rule("data.skip=", "few steps, of a new run", before="rm -r runs/nano && braid train nano.yaml",
                 swap={"00001300": "00000002", "[1340, 1350]": "[3, 3]"}, shows="(?s)step 3/4.*step 4/4"),
            Rule("name=decay-20k", "few steps", swap={
                "00020000": "00000002", "train.steps=22000": "train.steps=4", "decay_steps: 2000": "decay_steps: 2"},
                shows="(?s)step 3/4.*step 4/4"),
            Rule("name=decay-40k", "few steps", swap={
                "00040000": "00000004", "train.steps=44000": "train.steps=6", "decay_steps: 4000": "decay_steps: 2"},
                shows="(?s)step 5/6.*step 6/6"),
            Rule("name=nano-low", "few steps", swap={"00003000": "00000002"}, shows="(?s)step 3/4.*step 4/4"),
        )),
    "docs/sweeps.md": Document(
        files={"base.yaml": TINY.format(name="base").replace("dictionary", "web").replace(
            "hidden_size: 16", "hidden_size: 16, sublayers: {attn: {qk_norm: none}}")},
        before=DATA,
        patches={
            # Of what is compared two remain. One learning rate is too small and one too large: the grid need not grow.
            "norms.yaml": {"train.steps: 400": "train.steps: 2", "[pre, post, sandwich]": "[pre, sandwich]",
                           "seeds: 4 ": "seeds: 2 ",
                           "[1.0e-3, 2.0e-3, 4.0e-3], seeds: 2": "[1.0e-9, 2.0e-3, 9.0], seeds: 1"},
            # The control takes a minute or two on two idle cores.
            "configs/sweeps/base-control.yaml": {"steps: 500, sequence_length: 272, global_batch: 16":
                                                 "steps: 2, sequence_length: 68, global_batch: 2", "warmup_steps: 50":
                                                 "warmup_steps: 1"},
            "configs/sweeps/recall-control.yaml": {"{steps: 1600, sequence_length: 128, global_batch: 16}":
                                                   "{steps: 2, sequence_length: 32, global_batch: 2}"},
        },
        rules=(
            Rule("--groups 4", "a new folder, as the sweep is done by now", before="rm -r sweeps/norms"),
            Rule("synth parity", "60000 documents are more than a moment's", swap={"60000": "600"}),
            Rule("synth recall", "60000 documents are more than a moment's", swap={"60000": "3000"}),
        )),
    "docs/testing.md": Document(rules=(
        Rule("./launch/test.sh", ITS_TESTS, instead=excuses.script),
        Rule("ctest --preset cpu", "runs tests beside this one", instead=excuses.tests_listed),
        Rule("launch/bundle.sh", "needs a build for GPUs", instead=excuses.script),
        Rule("tar -xJf", "unpacks what needs a build for GPUs", instead=excuses.nothing),
        Rule("gpu_check.sh", "needs a GPU", instead=excuses.options_in("launch/gpu_check.py")),
        Rule("pip install", "needs a network", instead=excuses.files),
        Rule("make_golden.py", "needs PyTorch and transformers", instead=excuses.files),
    )),
    "docs/verdicts.md": Document(rules=(
        Rule("bench_verdicts 10000 1", "a build, and ten thousand sweeps of each size", instead=excuses.built,
             slow={"cmake --preset cpu && cmake --build --preset cpu --target bench_verdicts && ": "", "10000": "10"}),
    )),
}
