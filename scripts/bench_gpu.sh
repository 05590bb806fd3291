#!/usr/bin/env bash
# Measure training and neurons in bfloat16 on a GPU, in less than five minutes:
#
#   scripts/bench_gpu.sh [--out FILE.jsonl] [--small] [--seconds N]
#
# Needs this repository and a Python (PYTHON=python3) with JAX for CUDA, Flax and Optax, as container
# images for CUDA have them; no network. Wheels of what the image lacks, such as jaxtyping, or loguru
# and SpikingJelly, are installed from the folder WHEELS (.wheels) for this run only. To fetch them:
#
#   pip download --no-deps --only-binary=:all: --dest .wheels jaxtyping loguru spikingjelly
#
# Without PyTorch or SpikingJelly, their rows say that they are missing. Each result is a line of FILE
# (benchmarks/results/gpu.jsonl) as soon as it is there. Repeat the command to measure what is left;
# the exit code is 3 while something is. --small tries everything in tiny sizes, on a CPU too.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
source scripts/install_wheels.sh
# The program ends by itself before this limit; the limit also ends a child that hangs in a driver.
timeout --kill-after=5 295 "$python" -m benchmarks.gpu "$@"
