#!/bin/bash
# Install, build and test. docs/testing.md says what each part covers.
#
#     launch/test.sh                everything a change must pass: the CPU build, sanitizers, CUDA; no slow tests
#     launch/test.sh --fast         unit tests of the CPU build
#     launch/test.sh --slow         the slow tests of the CPU build
#     launch/test.sh --sanitizers   the address and thread sanitizer builds, with whole runs that the first leaves out
#     launch/test.sh --cuda         the CUDA backend: its tests on an emulated GPU, and what its compiler made
#     launch/test.sh --gpu          the CUDA backend's tests on this machine's GPU
#
# The last line is `N passed, N failed`, with `, N skipped` where tests were. Exit code 0 when none failed, 1 when some
# did, 2 on wrong usage. A build that fails counts as one failure.
set -uo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

case "${1:-}" in
    "") mode=all ;;
    --fast | --slow | --sanitizers | --cuda | --gpu) mode=${1#--} ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | head -n -1 >&2
        exit 2
        ;;
esac

install_for=()
[[ $mode == all || $mode == cuda || $mode == gpu ]] && install_for=(--cuda)
launch/install_deps.sh "${install_for[@]}" || exit
source launch/env.sh
cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which obeys both
results=build/test-results
rm -rf "$results"
mkdir -p "$results"
failed_steps=0
stages=() # "SECONDS WHAT", for the table at the end

# build PRESET CMAKE-BUILD-OPTIONS...: configures and builds; a failure counts as one failed test.
build() {
    local preset=$1 start=$SECONDS
    shift
    local log="$results/$preset-build.log"
    echo "== build $preset $*"
    if cmake --preset "$preset" > "$log" 2>&1 && cmake --build --preset "$preset" -j "$cores" "$@" >> "$log" 2>&1; then
        echo "== build $preset: $((SECONDS - start)) s"
        stages+=("$((SECONDS - start)) build $preset $*")
        return 0
    fi
    grep -E -A8 'error|Error|FAILED' "$log" | head -n 60
    echo "== build $preset FAILED after $((SECONDS - start)) s, see $log"
    failed_steps=$((failed_steps + 1))
    return 1
}

# run_tests PRESET CTEST-OPTIONS...: every failure's output is shown, results are added up at the end.
run_tests() {
    local preset=$1 start=$SECONDS
    shift
    echo "== test $preset $*"
    # Three more than there are cores: tests of signals, stuck ranks and refusals mostly wait.
    ctest --preset "$preset" -j $((cores + 3)) --no-tests=error \
        --output-junit "$PWD/$results/$preset.xml" "$@"
    echo "== test $preset: $((SECONDS - start)) s"
    stages+=("$((SECONDS - start)) test $preset $*")
    # ctest writes no file when it finds no test or cannot start.
    [[ -s "$results/$preset.xml" ]] || failed_steps=$((failed_steps + 1))
}

[[ $mode == fast ]] && build cpu && run_tests cpu -L unit -LE slow
[[ $mode == slow ]] && build cpu && run_tests cpu -L slow
[[ $mode == all ]] && build cpu && run_tests cpu -LE slow
if [[ $mode == all || $mode == sanitizers ]]; then
    # The structure and the launcher's scripts do not depend on the build; kernels and curves are those of optimized
    # code; a library put before all others, limits of memory and streams taken away do not go with the address
    # sanitizer.
    left_out='^(structure|numerics|golden)\.|^faults\.(wrong_blas|output|signals)$|^launch\.(mpirun|scripts)$'
    # Six minutes of whole runs, whose code the tests of its parts, launch.verify, launch.config_command and
    # e2e.generate run as well.
    whole_runs='^e2e\.(ablation|mixers|precision|refusal|report|resume|sweep)$|^faults\.stuck_rank$'
    whole_runs+='|^configs\.|^report_page\.|^launch\.wandb_follow$'
    [[ $mode == sanitizers ]] || left_out+="|$whole_runs"
    build cpu-asan && run_tests cpu-asan -L 'unit|mpi' -LE slow -E "$left_out"
    # Without OpenMP only these folders start threads: ranks, the loader's prefetching, the run's side threads. Where
    # nothing else is asked for, of them the suites that do.
    threaded='^(base|parallel|optim|data|trainer)\.'
    if [[ $mode == all ]]; then
        threaded='^trainer\.(checkpoint|expert_memory|lone_work|parity|progress|relayout|run|start|step|traffic)$'
        threaded+='|^(base\.hdf5_file|data\.(validation_)?loader|optim\.muon|parallel\.[a-z_]*)$|layout_property'
    fi
    build cpu-tsan --target test_base test_parallel test_optim test_data test_trainer &&
        run_tests cpu-tsan -L unit -LE slow -R "$threaded"
fi
if [[ $mode == all || $mode == cuda ]]; then
    # The emulation runs the kernels' source on the CPU; what a GPU would run is compiled, linked and looked at.
    programs=(braid test_ops test_optim test_distributed bench_gpu_kernels)
    build cuda-emulated --target "${programs[@]}" emulation_violations && run_tests cuda-emulated -L gpu -LE slow
    build cuda --target "${programs[@]}" && run_tests cuda -L cuda -LE slow
fi
[[ $mode == gpu ]] && build cuda && run_tests cuda -L 'gpu|cuda'

echo "== stages, in seconds"
for stage in "${stages[@]}"; do
    printf '%6d  %s\n' "${stage%% *}" "${stage#* }"
done
printf '%6d  all\n' "$SECONDS"
python3 tests/support/count_results.py "$failed_steps" "$results"/*.xml
