#!/bin/bash
# The dispatch of one mixture of experts, on one rank and on RANKS ranks of one thread, the two jobs taking turns.
#
#     bench/expert_dispatch.sh [RANKS [REPETITIONS [STEPS]]]      (2 ranks, 3 repetitions of 5 steps)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ranks=${1:-2} repetitions=${2:-3} steps=${3:-5}
export OMP_NUM_THREADS=1
cmake --build --preset cpu --target bench_expert_dispatch > /dev/null
echo "load before: $(cut -d' ' -f1 /proc/loadavg)"
for ((i = 0; i < repetitions; ++i)); do
    build/cpu/bench/bench_expert_dispatch "$steps"
    launch/braid-mpirun -n "$ranks" build/cpu/bench/bench_expert_dispatch "$steps"
done
