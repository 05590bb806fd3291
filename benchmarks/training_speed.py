"""Images/s of the training step by neuron, network and devices: python -m benchmarks.training_speed

Every case runs in its own process, since JAX fixes its devices at the start; the cases take
turns, so that other work on the machine slows all of them. Prints one JSON object: the median of
the rounds for each case, and the environment. The images are synthetic, which does not change the
speed.
"""

import json
import statistics
import subprocess
import sys
import time
from importlib import import_module
from typing import Any

ROUNDS, STEPS = 3, 10
SMALL = {"width": 16}
CASES: dict[str, tuple[str, str, dict[str, int], int]] = {
    # name: (config, variant, changes of config.model, devices)
    "fashion_mnist:relu, width 16": ("fashion_mnist", "relu", SMALL, 1),
    "fashion_mnist:ilif, width 16": ("fashion_mnist", "ilif", SMALL, 1),
    "fashion_mnist:pit, width 16": ("fashion_mnist", "pit", SMALL, 1),
    "fashion_mnist:pit, width 16, 2 devices": ("fashion_mnist", "pit", SMALL, 2),
    "fashion_mnist:lif, width 16": ("fashion_mnist", "lif", SMALL, 1),
    "fashion_mnist:pit": ("fashion_mnist", "pit", {}, 1),
    "fashion_mnist:pit, 2 devices": ("fashion_mnist", "pit", {}, 2),
    "cifar100:pit": ("cifar100", "pit", {}, 1),
}
SHAPES = {"fashion_mnist": (28, 28, 1), "cifar100": (32, 32, 3)}


def measure(name: str) -> float:
    """Return the images/s of one case, after its first step."""
    file, variant, changes, devices = CASES[name]
    import jax

    jax.config.update("jax_num_cpu_devices", devices)
    from train.data import load
    from train.program.program import make_program

    config: Any = import_module(f"configs.{file}").get_config(variant)
    config.model.update(changes)
    dataset = load("synthetic", shape=SHAPES[file], num_train=config.batch_size)
    program = make_program(config, dataset)
    state, step, order = program.first_state(), program.compile_step(), next(program.batches(0))
    state, _ = step(state, order)
    jax.block_until_ready(state)
    start = time.perf_counter()
    for _ in range(STEPS):
        state, _ = step(state, order)
    jax.block_until_ready(state)
    return float(STEPS * config.batch_size / (time.perf_counter() - start))


def main() -> None:
    """Measure all cases `ROUNDS` times and print the medians."""
    speeds: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name in CASES:
            run = [sys.executable, "-m", "benchmarks.training_speed", name]
            speeds[name].append(float(subprocess.check_output(run, text=True).split()[-1]))
    from train.run.environment import describe_environment

    medians = {name: round(statistics.median(values)) for name, values in speeds.items()}
    print(json.dumps({"images/s": medians, "environment": describe_environment()}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(measure(sys.argv[1]))
    else:
        main()
