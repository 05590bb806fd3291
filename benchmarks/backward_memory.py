"""What the backward pass keeps, before and now: python -m benchmarks.backward_memory

ResNet18 on CIFAR shapes, batch 128, and VGG11 on event frames, T = 10, batch 16, in float32: by
JAX's count and in the compiled program, as `python -m train.analyze RUN --only memory` prints them
for a run. Everything is compiled and nothing is run, so a busy machine counts the same bytes.

Writes the rows of this tree into benchmarks/backward_memory.json; the rows of the commit before the
new gradients stay. `python -m docs._build.performance` makes a table from it.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import optax

from pit_jax import models
from pit_jax.analysis.compiled import compile_memory
from pit_jax.analysis.memory import training_memory
from pit_jax.neurons import LIF, PIT, ReLU
from pit_jax.tuning import compiler_options
from train.run.environment import describe_environment

OUT = Path(__file__).with_suffix(".json")
NEURONS = {"ReLU": ReLU, "PIT": partial(PIT, levels=4), "LIF": LIF}
CIFAR, EVENTS = (128, 32, 32, 3), (16, 10, 48, 48, 2)
ROWS: tuple[tuple[str, str, int, tuple[int, ...]], ...] = (
    ("resnet18", "ReLU", 1, CIFAR),
    ("resnet18", "PIT", 1, CIFAR),
    ("vgg11", "PIT", 10, EVENTS),
    ("vgg11", "LIF", 10, EVENTS),
)


def main() -> None:
    """Count all rows; write and print the record."""
    record = json.loads(OUT.read_text())
    record |= {"environment": describe_environment(), "now": [count(*row) for row in ROWS]}
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    print(OUT.read_text())


def count(network: str, neuron: str, steps: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the bytes that the backward pass of a network keeps, by all counts."""
    model = models.create(network, num_classes=10, neuron=NEURONS[neuron], num_steps=steps)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    labels = jax.ShapeDtypeStruct(shape[:1], jnp.int32)

    def loss(logits: Any, labels: Any) -> Any:
        mean = logits.mean(axis=1)
        return optax.softmax_cross_entropy_with_integer_labels(mean, labels).mean()

    optimizer = optax.sgd(0.1, momentum=0.9)
    saved = training_memory(model, images, labels, loss=loss, optimizer_init=optimizer.init)
    compiled = compile_memory(
        model, images, labels, loss=loss, compiler_options=compiler_options("train")
    )
    return {
        "network": network,
        "neuron": neuron,
        "steps": steps,
        "images": shape[0],
        "neurons": sum(saved.neurons.values()),
        "saved": saved.activations,
        "held": compiled.held,
        "temporaries": compiled.temporaries,
    }


if __name__ == "__main__":
    main()
