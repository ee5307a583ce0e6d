#!/bin/bash
# Install, build and test. docs/testing.md says what each part covers.
#
#     launch/test.sh                everything a change must pass: the CPU build and the sanitizers, without slow tests
#     launch/test.sh --fast         unit tests of the CPU build
#     launch/test.sh --slow         the slow tests of the CPU build
#     launch/test.sh --sanitizers   the address and thread sanitizer builds
#
# The last line is `N passed, N failed`, with `, N skipped` where tests were. Exit code 0 when none failed, 1 when some
# did, 2 on wrong usage. A build that fails counts as one failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

case "${1:-}" in
    "") mode=all ;;
    --fast | --slow | --sanitizers) mode=${1#--} ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" | head -n -1 >&2
        exit 2
        ;;
esac

launch/install_deps.sh || exit
source launch/env.sh
cores=$(nproc)
results=build/test-results
rm -rf "$results"
mkdir -p "$results"
failed_steps=0

# step NAME COMMAND...: runs the command with its output, and says how long it took.
step() {
    local name=$1 start=$SECONDS code=0
    shift
    echo "== $name"
    "$@" || code=$?
    echo "== $name: $((SECONDS - start)) s, exit code $code"
    return $code
}

# build PRESET: configures and builds; a failure counts as one failed test.
build() {
    step "configure $1" cmake --preset "$1" > "$results/$1-configure.log" 2>&1 &&
        step "build $1" cmake --build --preset "$1" -j "$cores" > "$results/$1-build.log" 2>&1
    local code=$?
    if ((code != 0)); then
        grep -hE -A8 'error|Error|FAILED' "$results/$1"-*.log | head -n 60
        echo "== build $1 FAILED"
        failed_steps=$((failed_steps + 1))
    else
        tail -qn 1 "$results/$1"-*.log
    fi
    return $code
}

# run_tests PRESET CTEST-OPTIONS...: every failure's output is shown, results are added up at the end.
run_tests() {
    local preset=$1
    shift
    step "test $preset $*" ctest --preset "$preset" -j "$cores" --no-tests=error \
        --output-junit "$PWD/$results/$preset.xml" "$@"
    # ctest writes no file when it finds no test or cannot start.
    [[ -s "$results/$preset.xml" ]] || failed_steps=$((failed_steps + 1))
}

[[ $mode == fast ]] && build cpu && run_tests cpu -L unit -LE slow
[[ $mode == slow ]] && build cpu && run_tests cpu -L slow
[[ $mode == all ]] && build cpu && run_tests cpu -LE slow
if [[ $mode == all || $mode == sanitizers ]]; then
    # Formatting and sizes do not depend on the build.
    build cpu-asan && run_tests cpu-asan -L 'unit|mpi' -LE slow -E '^structure\.'
    build cpu-tsan && run_tests cpu-tsan -L unit -LE slow -E '^structure\.'
fi

python3 tests/support/count_results.py "$failed_steps" "$results"/*.xml
