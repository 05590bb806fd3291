"""Measures scales, firing and rounding of every neuron layer on a few fixed training samples."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from pit_jax.checks.bounds import set_bounds, whole
from pit_jax.initializers import SCALE_FLOOR
from pit_jax.neurons.probe import neuron_probes
from pit_jax.tuning import compiler_options

from ..data import Split
from .sharding import place
from .state import TrainState

# The counts of a layer that are compared between training steps. A share p of N counts has the
# standard error sqrt(p (1 - p) / N), at most 0.5 / sqrt(16384) = 0.4 %.
MOST_COUNTS = 16_384


class Look(NamedTuple):
    """The measures of a state by layer and name, and some counts of each layer."""

    measures: dict[str, dict[str, Float[Array, ""]]]
    counts: dict[str, Int[Array, " N"]]


@set_bounds(images=whole(1))
def make_probe(
    model: nn.Module,
    normalize: Callable[[Array], Array],
    split: Split,
    images: int,
    everywhere: NamedSharding,
) -> Callable[[TrainState], Look]:
    """Return a function that measures the raw weights and statistics of a state, in test mode.

    Every device computes all `images`, so no collective is needed and their number is arbitrary.
    """

    @partial(jax.jit, out_shardings=everywhere, compiler_options=compiler_options("evaluate"))
    def look(variables: Mapping[str, Any], images: Array) -> Look:
        _, probes = model.apply(variables, normalize(images), mutable=["intermediates"])
        layers = neuron_probes(probes.get("intermediates", {}))
        return Look(
            {layer: measure_layer(sown) for layer, sown in layers.items()},
            {layer: sample_counts(sown["count"]) for layer, sown in layers.items()},
        )

    # Cached on the first call, at the end of the first epoch: other programs never need it.
    batch = cache(lambda: place(take_evenly(split, images)[0], everywhere))
    return lambda state: look({"params": state.params, "batch_stats": state.batch_stats}, batch())


def take_evenly(split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of at most `count` samples at equal distances.

    In a sorted data set the first ones would all be of one class.
    """
    size = len(split)
    index = np.arange(min(count, size)) * size // min(count, size)
    batch = split.take(index)
    return batch["image"], batch["label"]


def measure_layer(sown: Mapping[str, Array]) -> dict[str, Float[Array, ""]]:
    """Return the measures of one layer, each between 0 and 1.

    `rate` is the mean firing rate; `silent` and `saturated` are the shares of channels that never
    fire, and that always fire D, over all samples, steps and positions. Layers with a learned scale
    have `floor`, the share of scales at their lower bound; layers that round have `distance`, the
    mean of the function `distance`.
    """
    fired, levels = jnp.abs(sown["count"]), sown["levels"]
    # The last axis are the channels, [B, T, ..., C].
    but_channels = tuple(range(fired.ndim - 1))
    found = {
        "rate": jnp.mean(sown["rate"]),
        "silent": jnp.mean((fired == 0).all(but_channels)),
        "saturated": jnp.mean((fired == levels).all(but_channels)),
    }
    if "scale" in sown:
        found["floor"] = jnp.mean(sown["scale"] <= SCALE_FLOOR)
    if "rounded" in sown:
        found["distance"] = jnp.mean(distance(sown["rounded"], levels))
    return found


def distance(x: Float[Array, "*N"], levels: int | Array) -> Float[Array, "*N"]:
    """Return the distance of x to the nearest of 1/2, 3/2, ..., levels - 1/2, at most 1/2."""
    # Rounding to a count changes at these boundaries only: below 1/2 the count is 0, above
    # levels - 1/2 it is `levels`.
    boundary = jnp.clip(jnp.floor(x), 0, levels - 1) + 0.5
    return jnp.minimum(jnp.abs(x - boundary), 0.5)


def sample_counts(count: Float[Array, "*N"]) -> Int[Array, " K"]:
    """Return at most `MOST_COUNTS` counts, always of the same neurons and samples."""
    flat = count.ravel()
    if flat.size > MOST_COUNTS:
        # A fixed seed: two states are compared count by count.
        index = np.random.default_rng(0).integers(flat.size, size=MOST_COUNTS, dtype=np.int64)
        flat = flat[np.sort(index)]
    return flat.astype(jnp.int16)


def compare_counts(*counts: np.ndarray) -> dict[str, float]:
    """Return how the last training step changed the same counts, at up to three consecutive states.

    `flips` is the share of counts that changed. `oscillating` is the share that changed in the
    direction opposite to their change in the step before (Nagel et al. 2022, for weights); it needs
    three states, `flips` two.
    """
    moved = [np.sign(after - before) for before, after in zip(counts, counts[1:], strict=False)]
    found = {}
    if moved:
        found["flips"] = float(np.mean(moved[-1] != 0))
    if len(moved) > 1:
        found["oscillating"] = float(np.mean(moved[-2] * moved[-1] < 0))
    return found
