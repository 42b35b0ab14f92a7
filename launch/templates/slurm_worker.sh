#!/usr/bin/env bash
# {{ name }}, on a Slurm cluster: runs a command as one of the workers of train.sbatch.
#
# As soon as one worker ends badly srun kills the others, which wait for it in vain. One that is
# preempted must not look so, for the others may still be ending: it leaves a mark instead.
set -uo pipefail

trap : TERM INT USR1 # Slurm sends them to the command too, which knows what to do.
code=0
"$@" || code=$?
[[ $code == "$PREEMPTED" ]] || exit "$code"
touch "$MARK"
