"""Train on handwritten digits, compile to binary spikes, verify, and export for JAX alone.

python -m examples.spike_driven.make runs/spikes     # half a minute; --epochs=30 for 99 %
python examples/spike_driven/run.py runs/spikes/digits.stablehlo
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pit_jax.export import to_stablehlo
from pit_jax.inference import compile
from train import data
from train.data.images.digits import TEST_INDICES
from train.export.compile_run import compute_pixel_values
from train.main import main
from train.program import build
from train.program.inputs import make_normalize
from train.run import restore
from train.run.reading import load_run_config

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=5)
args = parser.parse_args()

run = args.folder / "run"
config = ["--config", "configs/digits.py", f"--config.epochs={args.epochs}"]
if main(["main", *config, "--workdir", str(run)]):
    sys.exit(2)

config = load_run_config(run)
digits = data.load(**config.data)
network, variables = build.make_network(config, digits), restore.load_variables(run)
normalize = make_normalize(digits)

# Batch norm and scales are folded into integer weights, and a count of up to 4 becomes four spikes.
program = compile(network, variables, normalize(digits.train.images[:60]))
print(program)

# Spikes and logits equal integer arithmetic bit for bit. The proof also says how closely they agree
# with the trained network in floats.
proof = program.verify(normalize(digits.test.images), digits.test.labels)
print(proof)

# The artifact reads raw pixels, which a lookup table normalizes.
about = {"classes": digits.classes, "held_out": np.loadtxt(TEST_INDICES, dtype=int).tolist()}
folder = args.folder / "digits.stablehlo"
to_stablehlo(
    program,
    folder,
    pixels=compute_pixel_values(digits),
    proof=proof,
    about=about,
    overwrite=folder.exists(),
)
print(f"written to {folder}")
