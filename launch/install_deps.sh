#!/bin/bash
# Install what Braid's CPU build, tests and quickstart need on Debian 12 or Ubuntu 24.04 or later. Silent and quick
# when nothing is missing; without root (or sudo that asks no password) it prints the command to run and exits 2.
set -euo pipefail

packages=(
    # build
    g++ make cmake ninja-build ccache pkg-config git clang-format-14
    # libraries
    libfmt-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libssl-dev libhdf5-dev zlib1g-dev libzstd-dev libhwy-dev
    libopenblas-openmp-dev libopenblas-serial-dev libdnnl-dev libopenmpi-dev openmpi-bin
    # tests and benchmarks
    libgtest-dev libgmock-dev libbenchmark-dev python3 python3-h5py python3-numpy python3-yaml procps util-linux zstd
    # bundle
    patchelf binutils xz-utils
    # quickstart: its text, and its picture
    dict-gcide gnuplot-nox
)

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
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo > /dev/null || ! sudo -n true 2> /dev/null; then
        echo "install_deps.sh: ${#missing[@]} package(s) are missing, and installing them takes root. Run:" >&2
        echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 2
    fi
    as_root=(sudo -n)
fi
echo "installing ${#missing[@]} package(s): ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    # Another apt-get may be at work, as on a machine that has just booted.
    if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" &> "$log"; then
        tail -n 20 "$log" >&2
        echo "install_deps.sh: apt-get $1 failed" >&2
        exit 1
    fi
}
apt update
apt install -y --no-install-recommends "${missing[@]}"
