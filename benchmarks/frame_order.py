"""The effect of the order of event frames: python -m benchmarks.frame_order --config FILE [...]

Trains one network on frames in order and one on frames that are shuffled within each sample, and
tests both on test frames in order and shuffled. Takes a config of event frames and its overrides,
as `train.main` does; prints one JSON object.
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


def shuffle_frames(frames: Num[np.ndarray, "N T H W C"], seed: int) -> Num[np.ndarray, "N T H W C"]:
    """Return the frames of every sample in its own random order."""
    order = np.random.default_rng(seed).random(frames.shape[:2]).argsort(axis=1)
    return np.take_along_axis(frames, order[:, :, None, None, None], axis=1)


def shuffle_split(split: ArraySplit, seed: int) -> ArraySplit:
    """Return the samples of a split with shuffled frames."""
    return ArraySplit(shuffle_frames(split.images, seed), split.labels)


def measure_accuracy(
    config: ConfigDict, dataset: Dataset, tests: dict[str, ArraySplit]
) -> dict[str, Any]:
    """Train a network on `dataset` and return its accuracy on each of `tests`."""
    start = time.monotonic()
    program = make_program(config, dataset)
    state, step = program.first_state(), program.compile_step()
    for batch in program.batches(0):
        state, _ = step(state, batch)
    found = {}
    for name, split in tests.items():
        tested = make_program(config, dataclasses.replace(dataset, test=split)).evaluate(state)
        found[name] = round(tested.accuracy, 4)
    return found | {"seconds": round(time.monotonic() - start)}


def main() -> None:
    """Train and test both networks, and print the accuracies."""
    config, _ = cli.parse(sys.argv)
    dataset = data.load(**config.data)
    mixed = Dataset(
        dataset.name,
        shuffle_split(dataset.train, seed=0),
        shuffle_split(dataset.test, seed=1),
        dataset.num_classes,
    )
    tests = {"tested in order": dataset.test, "tested shuffled": mixed.test}
    results = {
        "trained in order": measure_accuracy(config, dataset, tests),
        "trained shuffled": measure_accuracy(config, mixed, tests),
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
