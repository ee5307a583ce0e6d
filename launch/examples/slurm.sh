#!/bin/bash
# Braid as a SLURM job that saves before its time is up and goes on in the next one:
#
#     sbatch launch/examples/slurm.sh configs/run.yaml
#
# Submit it from the root of the tree. Ranks and threads follow from the allocation below. Where ranks compute on GPUs,
# take one # from the line --gpus-per-node; it must be as many as there are ranks on a node.
#SBATCH --job-name=braid
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
##SBATCH --gpus-per-node=4
#SBATCH --time=04:00:00
#SBATCH --output=braid-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Five minutes before the end this script, and only it, gets SIGUSR1.
#SBATCH --signal=B:USR1@300
set -u

max_restarts=200 # of the whole job
max_losses=3     # of hosts or connections, one after the other without a run that was saved between

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

# 75: stopped and saved. 6: a host or a connection was lost; the run goes on from its last checkpoint.
losses_file=braid-$SLURM_JOB_ID.losses
losses=0
if ((code == 6)); then
    [[ ! -f "$losses_file" ]] || losses=$(< "$losses_file")
    echo $((++losses)) > "$losses_file"
else
    rm -f "$losses_file"
fi
if ((code == 75 || code == 6)) && ((losses <= max_losses && ${SLURM_RESTART_COUNT:-0} < max_restarts)); then
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit $code
