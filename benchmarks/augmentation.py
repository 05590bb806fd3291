"""Milliseconds of augmentation per batch and recipe: python -m benchmarks.augmentation

128 synthetic images of CIFAR's size on one device, from uint8 to the inputs of network and loss.
Prints one JSON object: the median of the rounds for each recipe, and the environment.
"""

import json
import statistics
import time
from typing import Any

import jax

from configs.cifar100 import get_config
from train.data import load
from train.program.inputs import make_prepare
from train.run.environment import describe_environment

ROUNDS, BATCH, SHAPE = 50, 128, (32, 32, 3)
RECIPES: dict[str, dict[str, Any]] = {
    "normalization alone": {},
    "crop and flip": {"pad": 4, "flip": True},
    "cifar100 (crop, flip, AutoAugment, Cutout)": get_config().augment.to_dict(),
    "cifar100:released (flip, TrivialAugment, Random Erasing, Mixup or CutMix)": get_config(
        "released"
    ).augment.to_dict(),
    "RandAugment": {"policy": {"name": "rand", "num_ops": 2, "magnitude": 9}},
}


def measure(recipe: dict[str, Any]) -> float:
    """Return the median time of a batch in milliseconds, without the first one."""
    config = get_config()
    config.augment = recipe
    dataset = load("synthetic", shape=SHAPE, num_train=BATCH)
    batch = jax.device_put(dataset.train.arrays)
    prepare = jax.jit(make_prepare(config, dataset))
    jax.block_until_ready(prepare(jax.random.key(0), batch))
    times = []
    for number in range(ROUNDS):
        key = jax.random.key(number)
        start = time.perf_counter()
        jax.block_until_ready(prepare(key, batch))
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    """Measure all recipes and print the medians."""
    medians = {name: round(measure(recipe), 1) for name, recipe in RECIPES.items()}
    print(
        json.dumps({"ms a batch of 128": medians, "environment": describe_environment()}, indent=1)
    )


if __name__ == "__main__":
    main()
