#!/usr/bin/env bash
# Train on every host of a Cloud TPU slice:
#
#   scripts/tpu_slice.sh NAME ZONE --config configs/imagenet.py --workdir /mnt/runs/sew
#   scripts/tpu_slice.sh NAME ZONE --config configs/imagenet.py:e_spikeformer_pit --workdir ...
#
# Each host needs the repository in ~/pit_jax, with an environment that has JAX for TPUs:
#
#   make .venv/.ready && .venv/bin/pip install "jax[tpu]==$(.venv/bin/python -c 'import jax; print(jax.__version__)')"
#
# The hosts find each other. Only the first one uses the workdir; all need the data. The run outlives
# this connection, and each host writes to ~/pit_jax/run.log. To save and stop it:
#
#   gcloud compute tpus tpu-vm ssh NAME --zone ZONE --worker=0 --command 'pkill -TERM -f train.main'
set -euo pipefail
[[ $# -ge 4 ]] || { echo "usage: $0 NAME ZONE --config FILE ..." >&2; exit 2; }
name=$1 zone=$2
shift 2
printf -v arguments '%q ' "$@"
exec ${GCLOUD:-gcloud} compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all \
	--command "cd ~/pit_jax && (setsid nohup .venv/bin/python -m train.main $arguments >> run.log 2>&1 &)"
