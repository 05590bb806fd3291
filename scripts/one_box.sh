#!/usr/bin/env bash
# Trains in several processes on this computer: scripts/one_box.sh 2 --config configs/digits.py ...
#
# One process sees all GPUs of a box by itself, and `python -m train.main` alone is the simplest way
# to use them. This is for a process for each GPU (GPUS_EACH=1), and to try several on a laptop.
set -euo pipefail
[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 PROCESSES --config FILE ..." >&2; exit 2; }
processes=$1
shift
python=${PYTHON:-.venv/bin/python}
port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}

pids=()
# They stop at the same step.
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM
for ((i = 0; i < processes; i++)); do
	if [[ -n "${GPUS_EACH:-}" ]]; then
		CUDA_VISIBLE_DEVICES=$(seq -s, $((i * GPUS_EACH)) $(((i + 1) * GPUS_EACH - 1)))
		export CUDA_VISIBLE_DEVICES
	fi
	# In the background, where a shell has SIGINT ignored.
	"$python" -m train.main --coordinator "localhost:$port" --processes "$processes" \
		--process "$i" "$@" &
	pids+=($!)
done

code=0
for pid in "${pids[@]}"; do
	# A signal that is trapped ends a wait, not the process.
	while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
	wait "$pid" || code=$?
done
exit "$code"
