#!/bin/bash
# Data-parallel efficiency, weak scaling: tokens/s of RANKS ranks of one thread over RANKS times those of one such rank
# alone. The two jobs take turns, so that both sides see the same machine; the medians are compared.
#
#     bench/data_parallel.sh [RANKS [REPETITIONS [STEPS]]]        (2 ranks, 5 repetitions of 2 steps)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ranks=${1:-2} repetitions=${2:-5} steps=${3:-2}
export OMP_NUM_THREADS=1
cmake --build --preset cpu --target bench_data_parallel > /dev/null

measure() {
    launch/braid-mpirun -n "$1" build/cpu/bench/bench_data_parallel "$steps" | tee -a "$log" | sed 's/^/    /'
}
median() {
    awk -v n="$1" '$2 == n { print $6 }' "$log" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "load before: $(cut -d' ' -f1 /proc/loadavg)"
for ((i = 0; i < repetitions; ++i)); do
    measure 1
    measure "$ranks"
done
awk -v one="$(median 1)" -v all="$(median "$ranks")" -v n="$ranks" 'BEGIN {
    printf "tokens/s: 1 rank %.1f, %d ranks %.1f; efficiency %.3f\n", one, n, all, all / (n * one) }'
