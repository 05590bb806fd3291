"""The cost of health records, relative to an epoch: python -m benchmarks.health_cost

Each round times an epoch with health records and one without, in turns and from the same state: the
steps, the test and, with health, its three measurements as in train.loop. Prints one JSON object:
for each config the seconds of an epoch without health, the median and quartiles of the time that
health adds in per cent, and the environment. Fashion-MNIST's images are synthetic, an eighth of the
steps and of the test images, so the measured share is divided by eight.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp

from configs import digits, fashion_mnist
from train.data import load
from train.monitor.health import Health
from train.program.program import Program, make_program
from train.run.environment import describe_environment

# name: (config, size of its synthetic data, how many such data sets are an epoch, rounds)
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any], int, int]] = {
    "digits": (digits.get_config, {}, 1, 60),
    "fashion_mnist": (
        fashion_mnist.get_config,
        {"shape": (28, 28, 1), "num_train": 7500, "num_test": 1250},
        8,
        8,
    ),
}


def time_epoch(program: Program, step: Any, every_epochs: int, workdir: Path) -> float:
    """Return the seconds of the first epoch; everything must have been compiled."""
    state = jax.block_until_ready(jax.tree.map(jnp.copy, program.first_state()))
    health = Health(program, workdir, every_epochs=every_epochs, begun=0, note=lambda text: None)
    batches = program.batches(0)
    start = time.perf_counter()
    for number in range(1, program.steps_per_epoch + 1):
        health.before(state, number)
        state, _ = step(state, next(batches))
    program.evaluate(state)
    health.end(state, 1)
    return time.perf_counter() - start


def measure(
    get_config: Callable[[], Any], synthetic: dict[str, Any], parts: int, rounds: int, workdir: Path
) -> dict[str, Any]:
    """Return the cost for one config."""
    config = get_config()
    dataset = load("synthetic", **synthetic) if synthetic else load(**config.data)
    program = make_program(config, dataset)
    step = program.compile_step()
    for every_epochs in (0, 1):  # Compiles everything.
        time_epoch(program, step, every_epochs, workdir)
    without, added = [], []
    for number in range(rounds):
        seconds = {}
        for every_epochs in (0, 1) if number % 2 else (1, 0):
            seconds[every_epochs] = time_epoch(program, step, every_epochs, workdir)
        without.append(parts * seconds[0])
        added.append(100 * (seconds[1] / seconds[0] - 1) / parts)
    low, median, high = statistics.quantiles(added, n=4)
    return {
        "seconds of an epoch without": round(statistics.median(without), 2),
        "per cent that it adds": round(median, 2),
        "quartiles": [round(low, 2), round(high, 2)],
    }


def main() -> None:
    """Measure all cases and print the results."""
    with TemporaryDirectory() as folder:
        found = {name: measure(*case, Path(folder)) for name, case in CASES.items()}
    print(json.dumps(found | {"environment": describe_environment()}, indent=1))


if __name__ == "__main__":
    main()
