#!/bin/bash
# From a bare machine to a trained model: install, build, make token files from a dictionary, train with two ranks,
# write text, draw the loss. Finished parts are skipped, so running it again is cheap; a run that was stopped goes on.
#
# Everything it writes lies in build/, data-cache/quickstart/ and runs/quickstart/.
# Exit code 0 when the validation loss ends at least 0.10 nats per byte below the entropy of a trigram model, 1 when it
# does not, and the failing command's code otherwise.
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.."

num_ranks=2
data=data-cache/quickstart
run=runs/quickstart
margin=0.10

step() {
    printf '\n== %s (%d s)\n' "$*" "$SECONDS"
}

step "1/6 packages"
launch/install_deps.sh
source launch/env.sh

step "2/6 build"
cmake --preset cpu > /dev/null
# On a terminal Ninja rewrites one line; elsewhere every tenth part gets one.
if [[ -t 1 ]]; then
    cmake --build --preset cpu --target braid
else
    cmake --build --preset cpu --target braid | awk '
        match($0, /^\[[0-9]+\/[0-9]+\]/) {
            split(substr($0, 2, RLENGTH - 2), count, "/")
            tenth = int(10 * count[1] / count[2])
            if (tenth > shown) { printf "built %d of %d\n", count[1], count[2]; fflush() }
            if (tenth > shown) shown = tenth
            next
        }
        { print }'
fi

step "3/6 token files"
mkdir -p "$data"
if [[ ! -f $data/train.h5 || ! -f $data/valid.h5 ]]; then
    rm -rf "$data/partial"
    mkdir "$data/partial"
    python3 launch/gcide_documents.py /usr/share/dictd/gcide |
        braid data build - --format jsonl -o "$data/partial/train.h5" --validation "$data/partial/valid.h5" \
            --validation-fraction 0.02
    # Only a pipeline that ended well leaves files under their final names.
    mv "$data/partial"/*.h5 "$data"
    rmdir "$data/partial"
fi
if [[ ! $data/info.json -nt $data/train.h5 || ! $data/info.json -nt $data/valid.h5 ]]; then
    braid data info "$data/train.h5" --entropy --validation "$data/valid.h5" --json > "$data/info.json.partial"
    mv "$data/info.json.partial" "$data/info.json"
fi

step "4/6 training with $num_ranks ranks"
launch/braid-mpirun -n $num_ranks braid train configs/quickstart.yaml

step "5/6 a sample"
checkpoint=$(find "$run/checkpoints" -maxdepth 1 -name 'step-*' | sort | tail -n 1)
braid generate "$checkpoint" --prompt $'Braid \\Braid\\, n.\n' --tokens 400 \
    --temperature 0.7 --seed 7 | tee "$run/sample.txt"

step "6/6 the picture"
verdict=0
python3 launch/quickstart_report.py "$run/metrics.jsonl" "$data/info.json" \
    --margin $margin --png "$run/loss.png" || verdict=$?
printf '\n%s, %s and %s; %d s in all\n' "$run/loss.png" "$run/sample.txt" "$run/metrics.jsonl" "$SECONDS"
exit $verdict
