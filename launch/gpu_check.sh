#!/bin/bash
# Check the CUDA backend on this machine's GPU in bounded time: what is found, where, and how fast. It runs in a bundle
# with its tests (launch/bundle.sh --tests) or in a tree whose preset cuda is built. It builds and fetches nothing.
#
#     launch/gpu_check.sh [--minutes N] [--out DIR] [--build DIR] [--jobs N] [--filter REGEX] [STAGE...]
#
# Stages, all by default: facts ops e2e nccl sanitize speed long. Each gets its share of the N minutes (30) and never
# stops the next one. DIR (gpu-check) gets table.txt, results.jsonl, failures.txt, facts.txt and the measurements.
# --build names a build folder of the tree (build/cuda), --jobs how many cases run at once (4), --filter cases by name.
#
# Exit code 0 when no case failed, 1 when some did, 2 on wrong usage or where there is no GPU or nothing to run.
set -euo pipefail

root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# NCCL and cuBLAS of Python's wheels, for machines that have them nowhere else. A later folder only serves what the
# earlier ones lack.
folders=$(python3 - << 'END'
import glob
import site
import sys
import sysconfig

roots = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_paths()["purelib"], *sys.path}
print(":".join(folder for root in sorted(filter(None, roots)) for folder in sorted(glob.glob(root + "/nvidia/*/lib"))))
END
) || { echo "gpu_check.sh: expected python3 on the PATH" >&2; exit 2; }
if [[ -n "$folders" ]]; then
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folders"
fi
# Whole runs of the e2e stage read their files with h5py.
python=python3
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py' 2> /dev/null; then
        python=$candidate
        break
    fi
done
exec "$python" "$root/launch/gpu_check.py" "$@"
