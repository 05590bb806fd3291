#!/usr/bin/env bash
# Train in several processes on one computer: scripts/one_box.sh 2 --config configs/digits.py ...
#
# A single process uses all GPUs of a computer, so `python -m train.main` alone is simplest. This
# script is for one process per GPU (GPUS_EACH=1), and for trying several processes on a laptop.
set -euo pipefail
[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 PROCESSES --config FILE ..." >&2; exit 2; }
processes=$1
shift
python=${PYTHON:-.venv/bin/python}
port=${PORT:-$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}

pids=()
# The processes agree on the step at which they stop.
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' INT TERM
for ((i = 0; i < processes; i++)); do
	if [[ -n "${GPUS_EACH:-}" ]]; then
		CUDA_VISIBLE_DEVICES=$(seq -s, $((i * GPUS_EACH)) $(((i + 1) * GPUS_EACH - 1)))
		export CUDA_VISIBLE_DEVICES
	fi
	# A shell lets background processes ignore SIGINT; hence TERM in the trap above.
	"$python" -m train.main --coordinator "localhost:$port" --processes "$processes" \
		--process "$i" "$@" &
	pids+=($!)
done

code=0
for pid in "${pids[@]}"; do
	# A trapped signal ends `wait`, but not the process.
	while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
	wait "$pid" || code=$?
done
exit "$code"
