"""One training step of a small network with PIT, on the device that JAX uses."""

import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.neurons import PIT


class StepResult(NamedTuple):
    """The loss before and after the step, and the seconds to compile it and to run it again."""

    before: float
    after: float
    compile_seconds: float
    run_seconds: float


class SmallNetwork(nn.Module):
    """A network of two linear layers with PIT in between."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T F"]) -> Float[Array, "B K"]:
        return nn.Dense(10)(PIT(levels=4)(nn.Dense(64)(x))).mean(axis=1)


def run_step() -> StepResult:
    """Run a step of gradient descent twice from the same weights; return losses and times."""
    network = SmallNetwork()
    x = jax.random.normal(jax.random.key(0), (64, 2, 32))
    labels = jnp.arange(64) % 10
    variables = network.init(jax.random.key(1), x)

    def compute_loss(variables: dict) -> Array:
        logits: Any = network.apply(variables, x)
        scores = jax.nn.log_softmax(logits)
        return -jnp.take_along_axis(scores, labels[:, None], axis=1).mean()

    @jax.jit
    def step(variables: dict) -> tuple[Array, Array]:
        loss, gradient = jax.value_and_grad(compute_loss)(variables)
        moved = jax.tree.map(lambda value, slope: value - 0.1 * slope, variables, gradient)
        return loss, compute_loss(moved)

    start = time.perf_counter()
    jax.block_until_ready(step(variables))
    middle = time.perf_counter()
    before, after = jax.block_until_ready(step(variables))
    end = time.perf_counter()
    return StepResult(float(before), float(after), middle - start, end - middle)
