#!/bin/bash
# The environment Braid's programs run in. Source it in a shell to have `braid` and `braid-mpirun` on the PATH, or
# run a program in it: launch/env.sh PROGRAM ARGUMENT... (launch/braid-mpirun starts every rank that way).
#
# Under mpirun it also shares the node's cores out among its ranks: OMP_NUM_THREADS is left alone where set, else it
# becomes cores / ranks on this node, counting only the cores of the affinity mask. Threads that outnumber the cores
# must not spin while they wait, so OMP_WAIT_POLICY becomes passive then. Outside mpirun the thread variables stay
# untouched: a value exported by an interactive shell would be taken for a user's choice by every later job.

braid_root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
braid_path="$braid_root/build/${BRAID_PRESET:-cpu}:$braid_root/launch"
# A bundle (launch/bundle.sh) is not built, and has its programs in one folder.
[[ -d "$braid_root/libexec" ]] && braid_path="$braid_root/bin"
case ":$PATH:" in
    *":$braid_path:"*) ;;
    *) export PATH="$braid_path:$PATH" ;;
esac
unset braid_path

if [[ -n "${OMPI_COMM_WORLD_LOCAL_SIZE:-}" ]]; then
    # nproc obeys OMP_NUM_THREADS; the cores are asked for here.
    braid_cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    braid_ranks=$OMPI_COMM_WORLD_LOCAL_SIZE
    # A bound rank's mask holds its own cores only.
    [[ "${BRAID_RANKS_BOUND:-0}" == 1 ]] && braid_ranks=1
    if [[ -z "${OMP_NUM_THREADS:-}" ]]; then
        export OMP_NUM_THREADS=$((braid_cores / braid_ranks > 1 ? braid_cores / braid_ranks : 1))
    fi
    # What is no number is refused by the program, and must not be computed with.
    if [[ -z "${OMP_WAIT_POLICY:-}" && "${OMP_NUM_THREADS%%,*}" =~ ^[0-9]{1,9}$ ]] &&
        ((10#${OMP_NUM_THREADS%%,*} * braid_ranks > braid_cores)); then
        export OMP_WAIT_POLICY=passive
    fi
    unset braid_cores braid_ranks
fi
unset braid_root

# What keeps mpirun on the loopback interface is not for its ranks.
if [[ -n "${BRAID_LOOPBACK:-}" ]]; then
    LD_PRELOAD=${LD_PRELOAD:-}
    LD_PRELOAD=${LD_PRELOAD#loopback.so}
    LD_PRELOAD=${LD_PRELOAD#:}
    [[ -n "$LD_PRELOAD" ]] || unset LD_PRELOAD
    LD_LIBRARY_PATH=":${LD_LIBRARY_PATH:-}:" # mpirun puts folders of its own before
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH/":$BRAID_LOOPBACK:"/:}
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH#:}
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH%:}
    [[ -n "$LD_LIBRARY_PATH" ]] || unset LD_LIBRARY_PATH
    unset BRAID_LOOPBACK
fi

# The launcher limits the time in which all ranks come to be, and takes these lines out again.
if [[ -n "${BRAID_REPORT_START:-}" && -n "${OMPI_COMM_WORLD_RANK:-}" ]]; then
    echo "braid-launch: rank $OMPI_COMM_WORLD_RANK" >&2
    export BRAID_REPORT_START=mpi # for the program, when it gets to MPI's start
fi

if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then
    if (($# == 0)); then
        echo "usage: source launch/env.sh, or launch/env.sh PROGRAM [ARGUMENT...]" >&2
        exit 2
    fi
    exec "$@"
fi
