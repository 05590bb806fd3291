"""How the cost of a training step grows: python -m benchmarks.growth [--small]

With the time steps T, with D, with the images of a batch and with the devices that share it: FLOPs
and temporaries as the compiler counts them, and the time of a step. All programs of an axis take
turns in one process, so the ratios of their times hold on a busy machine too. The devices are
virtual ones, which share the cores of this machine: they show what dividing a batch costs.

Writes benchmarks/growth.json. `python -m docs._build.performance` makes the table of
docs/guide/performance.md from it. `--small` uses a small network, for tests.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# Set before JAX is imported.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pit_jax import models
from pit_jax.neurons import LIF, PIT
from pit_jax.tuning import compiler_options
from train.run.environment import describe_environment

OUT = Path(__file__).with_suffix(".json")
FULL = {"network": "resnet18", "width": 16, "side": 32}
SMALL = {"network": "resnet8", "width": 4, "side": 8}
# The neuron, and the values of each axis; the others are T = 1, D = 4, 16 images, one device.
USUAL = {"T": 1, "D": 4, "batch": 16, "devices": 1}
AXES = {
    "T, PIT": ("T", (1, 2, 4, 8, 16)),
    "T, LIF": ("T", (1, 2, 4, 8, 16)),
    "D": ("D", (1, 2, 4, 8)),
    "batch": ("batch", (8, 16, 32, 64)),
    "devices": ("devices", (1, 2)),
}
ROUNDS = 9


def main() -> None:
    """Measure all axes; write and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    size, rounds = (SMALL, 1) if args.small else (FULL, ROUNDS)
    rows = []
    for axis, (key, values) in AXES.items():
        if args.small:
            values = values[:2]
        steps = {
            value: make_step(LIF if axis == "T, LIF" else PIT, **size, **USUAL | {key: value})
            for value in values
        }
        seconds: dict[int, list[float]] = {value: [] for value in values}
        for _ in range(rounds + 1):
            for value, (run, _) in steps.items():
                start = time.perf_counter()
                run()
                seconds[value].append(time.perf_counter() - start)
        rows += [
            {
                "axis": axis,
                "value": value,
                **counts,
                "seconds": statistics.median(seconds[value][1:]),
            }
            for value, (_, counts) in steps.items()
        ]
    record = {
        "environment": describe_environment(),
        "load": os.getloadavg()[0],
        "size": size,
        "usual": USUAL,
        "rows": rows,
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(args.out.read_text())


def make_step(
    neuron: Any, network: str, width: int, side: int, **at: int
) -> tuple[Callable[[], Any], dict[str, float]]:
    """Return a function that trains one step and waits for it, and what the compiler counts."""
    steps, levels, images, devices = (at[key] for key in USUAL)
    model = models.create(
        network,
        num_classes=10,
        neuron=partial(neuron, levels=levels) if neuron is PIT else neuron,
        num_steps=steps,
        width=width,
    )
    mesh = Mesh(np.array(jax.devices()[:devices]), ("batch",))
    whole, divided = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
    x = jax.device_put(np.random.default_rng(0).random((images, side, side, 3), "f"), divided)
    y = jax.device_put(np.arange(images) % 10, divided)
    init = jax.jit(partial(model.init, train=True), compiler_options=compiler_options("once"))
    variables = init(jax.random.key(0), x)
    variables = jax.device_put(variables, whole)

    def train(params: Any, stats: Any, x: Any, y: Any) -> Any:
        def objective(params: Any) -> Any:
            logits, updates = model.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits.mean(axis=1), y)
            return losses.mean(), updates["batch_stats"]

        (_, stats), grads = jax.value_and_grad(objective, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), stats

    step = jax.jit(train, compiler_options=compiler_options("train"))
    compiled = step.lower(variables["params"], variables["batch_stats"], x, y).compile()

    def run() -> None:
        jax.block_until_ready(compiled(variables["params"], variables["batch_stats"], x, y))

    return run, {
        "gflop": compiled.cost_analysis()["flops"] / 1e9,
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
    }


if __name__ == "__main__":
    main()
