#!/bin/bash
# The share of a training step that goes into communication on RANKS ranks of one thread, by what they share out. The
# layouts take turns.
#
#     bench/exposed_communication.sh [RANKS [REPETITIONS [STEPS]]]      (2 ranks, 1 repetition of 3 steps)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ranks=${1:-2} repetitions=${2:-1} steps=${3:-3}
export OMP_NUM_THREADS=1
cmake --build --preset cpu --target bench_exposed_communication > /dev/null
echo "load before: $(cut -d' ' -f1 /proc/loadavg)"
for ((i = 0; i < repetitions; ++i)); do
    for axis in data tensor expert; do
        launch/braid-mpirun -n "$ranks" build/cpu/bench/bench_exposed_communication "$axis" "$steps"
    done
done
