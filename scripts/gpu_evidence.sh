#!/usr/bin/env bash
# Train and check the paper's ResNet18 on a GPU, in less than five minutes:
#
#   scripts/gpu_evidence.sh [--data DIR] [--out FILE.jsonl] [--small] [--seconds N] [--epochs N]
#
# Trains LIF at T x D = 4 x 1, I-LIF and PIT (paper, ours) at 1 x 4 on all of Fashion-MNIST, padded to
# 32 x 32, in bfloat16; compares spikes on the GPU with those on its CPU; measures the memory of
# Table 5. It opens no network connection, and needs
#
# - this repository, and a Python (PYTHON=python3) with JAX for CUDA, Optax and rich, as container
#   images for CUDA have them, and scikit-learn for --small;
# - the four files of Fashion-MNIST, *-ubyte.gz, 30 MB, in DIR (data);
# - wheels of what the image lacks in the folder WHEELS (.wheels), installed for this run only. Flax
#   must match the image's JAX: 0.12.8 for JAX 0.10.2, 0.12.12 for JAX 0.11 and 0.12. To fetch them:
#
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --dest .wheels \
#       flax==0.12.12 ml_collections jaxtyping wadler_lindig
#
# It begins with a probe of a minute at most, which also chooses the epochs. Each result is appended
# to FILE (benchmarks/results/gpu_evidence.jsonl) as soon as it is measured. Repeat the command to
# measure what is left; on another machine, copy FILE there first. The exit code is 3 while something
# is left.
# --small tries everything in tiny sizes on the digits of scikit-learn, on a CPU too.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
source scripts/install_wheels.sh
# The program ends by itself before this limit; the limit also ends a child that hangs in a driver.
timeout --kill-after=5 295 "$python" -m benchmarks.gpu_evidence "$@"
