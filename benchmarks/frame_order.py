"""Whether the order of event frames matters: python -m benchmarks.frame_order --config FILE [...]

Two networks learn, one from frames as they came and one from frames that every sample has in an
order of its own; both are tested on test frames in order and shuffled. Takes a config of event
frames and its overrides, as in `train.main`; prints one JSON object.
"""

import dataclasses
import json
import sys
import time
from typing import Any

import jax
import numpy as np
from jaxtyping import Num
from ml_collections import ConfigDict

from train import data
from train.config import cli
from train.data import ArraySplit, Dataset
from train.program.program import make_program
from train.run.environment import describe_environment


def shuffled(frames: Num[np.ndarray, "N T H W C"], seed: int) -> Num[np.ndarray, "N T H W C"]:
    """The frames of every sample in a random order of its own."""
    order = np.random.default_rng(seed).random(frames.shape[:2]).argsort(axis=1)
    return np.take_along_axis(frames, order[:, :, None, None, None], axis=1)


def without_order(split: ArraySplit, seed: int) -> ArraySplit:
    """The same samples with shuffled frames."""
    return ArraySplit(shuffled(split.images, seed), split.labels)


def accuracies(
    config: ConfigDict, dataset: Dataset, tests: dict[str, ArraySplit]
) -> dict[str, Any]:
    """Of a network trained on `dataset`, on each of `tests`."""
    began = time.monotonic()
    program = make_program(config, dataset)
    state, step = program.first_state(), program.compile_step()
    for batch in program.batches(0):
        state, _ = step(state, batch)
    found = {}
    for name, split in tests.items():
        tested = make_program(config, dataclasses.replace(dataset, test=split)).evaluate(state)
        found[name] = round(tested.accuracy, 4)
    return found | {"seconds": round(time.monotonic() - began)}


def main() -> None:
    """Both networks, both tests."""
    config, _ = cli.parse(sys.argv)
    dataset = data.load(**config.data)
    mixed = Dataset(
        dataset.name,
        without_order(dataset.train, seed=0),
        without_order(dataset.test, seed=1),
        dataset.num_classes,
    )
    tests = {"tested in order": dataset.test, "tested shuffled": mixed.test}
    results = {
        "trained in order": accuracies(config, dataset, tests),
        "trained shuffled": accuracies(config, mixed, tests),
    }
    about = {
        "test accuracy": results,
        "config": json.loads(config.to_json_best_effort()),
        "environment": describe_environment(),
    }
    print(json.dumps(about, indent=1))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 1)
    main()
