#!/bin/bash
# Install what Braid's build, tests and quickstart need on Debian 12 or Ubuntu 24.04 or later.
#
#     launch/install_deps.sh           for the CPU
#     launch/install_deps.sh --cuda    for the preset cuda as well
#
# Silent and quick when nothing is missing; without root (or sudo that asks no password) it prints the command to run
# and exits 2. A CUDA compiler on the PATH or in /usr/local/cuda is taken as it is. Elsewhere the toolkit and NCCL come
# from PyPI, pinned by hash, into BRAID_CUDA_HOME (~/.cache/braid), without root; that is 700 MB of download.
set -euo pipefail
CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")"

case "${1:-}" in
    "") with_cuda=0 ;;
    --cuda) with_cuda=1 ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}" | head -n -1 >&2
        exit 2
        ;;
esac

packages=(
    # build
    g++ make cmake ninja-build ccache pkg-config git clang-format-14
    # libraries
    libfmt-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libssl-dev libhdf5-dev zlib1g-dev libzstd-dev libhwy-dev
    libopenblas-openmp-dev libopenblas-serial-dev libdnnl-dev libopenmpi-dev openmpi-bin
    libboost-math-dev libjs-chart.js
    # tests and benchmarks
    libgtest-dev libgmock-dev libbenchmark-dev python3 python3-h5py python3-numpy python3-yaml
    procps util-linux iproute2 zstd libfuse3-dev fuse3
    # bundle
    patchelf binutils xz-utils
    # quickstart: its text, and its picture
    dict-gcide gnuplot-nox
)
((with_cuda)) && packages+=(python3-pip)

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    echo "install_deps.sh: this is not a Debian or Ubuntu machine; install by hand what these packages hold:" >&2
    echo "    ${packages[*]}" >&2
    exit 2
fi

installed=$(dpkg-query -W -f='${db:Status-Status} ${binary:Package}\n' | sed -n 's/^installed \([^:]*\).*/\1/p')
missing=()
for package in "${packages[@]}"; do
    grep -qxF -- "$package" <<< "$installed" || missing+=("$package")
done
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# quietly WHAT COMMAND...: runs it in silence; when it fails, its last words are shown and the script ends.
quietly() {
    local what=$1
    shift
    if ! "$@" &> "$log"; then
        tail -n 20 "$log" >&2
        echo "install_deps.sh: $what failed" >&2
        exit 1
    fi
}

install_packages() {
    local as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo > /dev/null || ! sudo -n true 2> /dev/null; then
            echo "install_deps.sh: ${#missing[@]} package(s) are missing, and installing them takes root. Run:" >&2
            echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
            exit 2
        fi
        as_root=(sudo -n)
    fi
    echo "installing ${#missing[@]} package(s): ${missing[*]}"
    # Another apt-get may be at work, as on a machine that has just booted.
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    quietly "apt-get update" "${apt[@]}" update
    quietly "apt-get install" "${apt[@]}" install -y --no-install-recommends "${missing[@]}"
}

# install_wheels REQUIREMENTS FOLDER: the packages of a list, in a folder of their own that appears whole or not at all.
install_wheels() {
    [[ -e "$2" ]] && return
    local folder="$2.$$"
    echo "installing $(grep -c == "$1") package(s) from PyPI into $2"
    mkdir -p "${2%/*}"
    quietly "pip install" /usr/bin/python3 -m pip install --quiet --no-deps --require-hashes --no-compile \
        --disable-pip-version-check --root-user-action ignore --target "$folder" -r "$1"
    if [[ -d "$folder/nvidia/cu13/lib" ]]; then
        # Wheels hold libraries under the names that programs load, not those that a linker looks for.
        local library
        for library in "$folder"/nvidia/cu13/lib/*.so.*; do
            ln -s "${library##*/}" "${library%%.so.*}.so"
        done
        ln -s lib "$folder/nvidia/cu13/lib64"
    fi
    mv "$folder" "$2"
}

((${#missing[@]})) && install_packages
if ((with_cuda)); then
    home=${BRAID_CUDA_HOME:-$HOME/.cache/braid}
    command -v nvcc > /dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] ||
        install_wheels cuda_toolkit.txt "$home/cuda-13.0"
    command -v cuobjdump > /dev/null || [[ -x /usr/local/cuda/bin/cuobjdump ]] ||
        install_wheels cuda_tools.txt "$home/cuda-tools-13.2"
fi
exit 0
