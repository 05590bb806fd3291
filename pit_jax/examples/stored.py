"""Read and write a `Run` as three files: NAME.json, NAME.npz and NAME_images.npz."""

import hashlib
import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.initializers import SCALE_INITS
from pit_jax.models import create
from pit_jax.neurons import NEURONS
from pit_jax.run import Run

FOLDER = Path(__file__).parent
SPLITS = ("test", "train")
# The attributes of a run in the .json, in addition to `about`.
FIELDS = ("config", "classes", "shape", "mean", "std")


def read_run(name: str, folder: Path = FOLDER) -> Run:
    """Return the run that `write_run` wrote.

    Raises ValueError for a file that was changed.
    """
    found = json.loads((folder / f"{name}.json").read_text())
    arrays = {file: _read_arrays(folder / file, digest) for file, digest in found["sha256"].items()}
    weights, samples = arrays[f"{name}.npz"], arrays[f"{name}_images.npz"]

    def load(split: str, count: int | None) -> tuple[np.ndarray, np.ndarray]:
        if split not in SPLITS:
            raise ValueError(f"split must be {' or '.join(SPLITS)}, got {split!r}.")
        images, labels = samples[f"{split}_images"], samples[f"{split}_labels"]
        number = min(count or len(labels), len(labels))
        chosen = np.linspace(0, len(labels) - 1, number).round().astype(int)
        return images[chosen], labels[chosen]

    return Run(
        model=make_network(found["config"], len(found["classes"])),
        variables=jax.tree.map(jnp.asarray, unflatten_dict(weights, sep="/")),
        config=found["config"],
        classes=tuple(found["classes"]),
        shape=tuple(found["shape"]),
        mean=tuple(found["mean"]),
        std=tuple(found["std"]),
        load=load,
        about=found["about"],
    )


def write_run(run: Run, name: str, data: str, folder: Path = FOLDER) -> list[Path]:
    """Write a run and its images, and return the files.

    `data` is a sentence on where the images come from.
    """
    pairs = {split: run.images(split) for split in SPLITS}
    samples = {
        f"{split}_{what}": array
        for split, pair in pairs.items()
        for what, array in zip(("images", "labels"), pair, strict=True)
    }
    weights = flatten_dict(jax.device_get(dict(run.variables)), sep="/")
    contents = {
        f"{name}.npz": _pack(weights),
        f"{name}_images.npz": _pack(samples),
    }
    about = {
        **{key: getattr(run, key) for key in FIELDS},
        "about": run.about,
        "data": data,
        "sha256": {file: _hash(content) for file, content in contents.items()},
    }
    contents[f"{name}.json"] = f"{json.dumps(about, indent=1)}\n".encode()
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return [folder / file for file in contents]


def make_network(config: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Return the network of a config whose parts are all of this library."""
    model, neuron = dict(config["model"]), dict(config["neuron"])
    fire = NEURONS[neuron.pop("name")]
    if "scale_init" in neuron:
        neuron["scale_init"] = SCALE_INITS[neuron["scale_init"]]
    return create(
        model.pop("name"),
        num_classes=num_classes,
        neuron=partial(fire, **neuron),
        num_steps=config["num_steps"],
        **model,
    )


def _read_arrays(file: Path, digest: str) -> dict[str, np.ndarray]:
    content = file.read_bytes()
    if _hash(content) != digest:
        raise ValueError(f"{file} was changed after it was written; install pit_jax again.")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _pack(arrays: Mapping[str, Any]) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
