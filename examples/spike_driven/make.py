"""Train on handwritten digits, compile to binary spikes, verify, and export for JAX alone.

python -m examples.spike_driven.make runs/spikes     # half a minute; --epochs=30 for 99 %
python examples/spike_driven/run.py runs/spikes/digits.stablehlo
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from pit_jax.export import to_stablehlo
from pit_jax.run import open_run
from train.data.images.digits import TEST_INDICES
from train.main import main

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=5)
args = parser.parse_args()

config = ["--config", "configs/digits.py", f"--config.epochs={args.epochs}"]
if main(["main", *config, "--workdir", str(args.folder / "run")]):
    sys.exit(2)

run = open_run(args.folder / "run", checkpoint="last")
images, labels = run.images("test")  # Raw pixels, uint8 [360, 8, 8, 1].

# Batch norm and scales are folded into integer weights, and a count of up to 4 becomes four spikes.
program = run.compile()
print(program)

# Spikes and logits equal integer arithmetic bit for bit. The proof also says how closely they agree
# with the trained network in floats.
proof = program.verify(images, labels)
print(proof)

# The module takes raw pixels too: their normalization, a table of 256 values, is a part of it.
about = {"classes": run.classes, "held_out": np.loadtxt(TEST_INDICES, dtype=int).tolist()}
folder = args.folder / "digits.stablehlo"
to_stablehlo(program, folder, proof=proof, about=about, overwrite=folder.exists())
print(f"written to {folder}")
