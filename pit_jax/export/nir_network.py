"""The network for a NIR graph: a part for each node, sums where edges meet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.arrays import read_array
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import run_over_time
from pit_jax.neurons.step import charge, hard_reset
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class NIRPart:
    """A node: `make(name)` returns its function of the sum of its `sources`."""

    name: str
    sources: tuple[str, ...]
    make: Callable[[str], Callable[[Array], Any]]


class NIRNetwork(nn.Module):
    """A network that returns the outputs `[B, T, ...]` of its last part.

    Inputs are images or vectors `[B, ...]` with `rank` axes after B, used at every step, or
    `[B, T, ...]`.
    """

    parts: tuple[NIRPart, ...]
    num_steps: int
    rank: int

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "..."]:
        x = read_array("the input of a network", x)
        if x.ndim == self.rank + 1:
            x = jnp.broadcast_to(x[:, None], (len(x), self.num_steps, *x.shape[1:]))
        if x.ndim != self.rank + 2 or x.shape[1] != self.num_steps:
            raise ValueError(
                f"the input must be [B, ...] or [B, {self.num_steps}, ...] with {self.rank} axes "
                f"for ..., got {x.shape}."
            )
        values = {"": x}  # "" is the input.
        for part in self.parts:
            total, *rest = (values[source] for source in part.sources)
            for value in rest:
                total = total + value
            values[part.name] = part.make(part.name)(total)
        return values[self.parts[-1].name]


class ThresholdIF(nn.Module):
    """LIF neurons with hard reset and one threshold per neuron, `[C]` or `[H, W, C]`."""

    decay: float

    @nn.compact
    def __call__(self, current: Float[Array, "B T *N C"]) -> Float[Array, "B T *N C"]:
        threshold = self.param("threshold", nn.initializers.ones, current.shape[2:])

        def step(v: Array, current: Array) -> tuple[Array, tuple[Array, Array]]:
            u = charge(v, current, decay=self.decay)
            s = surrogate.arctan(u - threshold)
            # The hard reset ignores the threshold, so it works for any.
            return hard_reset(u, s, detach=True), (u, s)

        u, s = run_over_time(step, current)
        record(self, u, s, levels=1)
        return s


class Scale(nn.Module):
    """An elementwise multiplication by learned numbers."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T *N C"]) -> Float[Array, "B T *N C"]:
        return x * self.param("scale", nn.initializers.ones, x.shape[2:])


def sum_pool(
    x: Float[Array, "B T H W C"],
    window: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
) -> Float[Array, "B T h w C"]:
    """Return the sums over windows, which Flax has no pool for."""
    still, none = (1, 1), ((0, 0), (0, 0))
    return jax.lax.reduce_window(
        x,
        jnp.zeros((), x.dtype),
        jax.lax.add,
        (*still, *window, 1),
        (*still, *strides, 1),
        (*none, *padding, (0, 0)),
    )


serve_old_names(__name__)
