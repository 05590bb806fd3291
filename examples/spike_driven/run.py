"""Classify scikit-learn's handwritten digits with a program of binary spikes, with JAX alone.

python examples/spike_driven/run.py runs/spikes/digits.stablehlo
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from jax import export
from sklearn.datasets import load_digits

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())
content = (folder / "program.stablehlo").read_bytes()
# JAX itself would not notice a flipped bit.
if hashlib.sha256(content).hexdigest() != manifest["files"]["program.stablehlo"]["sha256"]:
    sys.exit(f"{folder} is damaged.")
program = export.deserialize(bytearray(content)).call

# The program takes raw pixels of 0 to 255 and normalizes them itself.
assert manifest["input"] == {"shape": ["batch", 8, 8, 1], "dtype": "uint8"}
digits = load_digits()
held_out = manifest["about"]["held_out"]
images = np.rint(digits.images[held_out] * 255 / 16).astype(np.uint8)[..., None]
answers = program(images).argmax(axis=1)
right = (answers == digits.target[held_out]).mean()
print(f"{right:.2%} of {len(images)} test images, in {manifest['num_steps']} step of binary spikes")
for image, answer in zip(images[:3, ..., 0], answers[:3], strict=True):
    print("\n".join("".join(" .:*#"[value // 52] * 2 for value in row) for row in image))
    print(f"is a {manifest['about']['classes'][answer]}")
