#!/bin/bash
# Braid as a SLURM job that saves before its time is up and goes on in the next one:
#
#     sbatch launch/examples/slurm.sh configs/run.yaml
#
# Submit it from the root of the tree. Ranks and threads follow from the allocation below.
#SBATCH --job-name=braid
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Five minutes before the end this script, and only it, gets SIGUSR1.
#SBATCH --signal=B:USR1@300
set -u

export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
launch/braid-mpirun -n "$SLURM_NTASKS" braid train "$@" &
launcher=$!
trap 'kill -USR1 $launcher' USR1 TERM INT

# A trapped signal ends the wait early; only the launcher's own end counts.
while true; do
    wait $launcher
    code=$?
    kill -0 $launcher 2> /dev/null || break
done
if ((code == 75)); then
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit $code
