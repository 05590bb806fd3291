#!/usr/bin/env bash
# Reproduce tables with one GPU for each task of a job array:
#
#   sbatch --array=0-7 scripts/reproduce_slurm.sh results table2 table8 --scale paper --data ~/data
#
# All tasks share the folder, results, which all nodes must see: each takes runs that no other task has,
# and the last ones wait for each other and write the pages. Two minutes before the time limit a task
# saves its run and is requeued; it resumes, as after a preemption.
#SBATCH --job-name=reproduce
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
[[ $# -ge 2 ]] || { echo "usage: sbatch --array=0-N reproduce_slurm.sh DIR NAME..." >&2; exit 2; }
out=$1
shift

"${PYTHON:-.venv/bin/python}" -m train.reproduce "$@" --out "$out" &
program=$!
# Slurm signals the shell; a trapped signal ends `wait`, but not the program.
trap 'kill -TERM "$program" 2>/dev/null || true' TERM
while kill -0 "$program" 2>/dev/null; do wait "$program" || true; done
code=0
wait "$program" || code=$?

# 128 + SIGTERM: stopped and saved. The number of this task alone, not of the array.
if [[ $code == 143 ]]; then
	scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
