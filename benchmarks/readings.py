"""The effect of each difference between paper and code: python -m benchmarks.readings [--rows A,B]

The runs are as in benchmarks/dig200.py. Each row is PIT as the paper prints it with one difference,
at T x D = 1 x 4 or 4 x 1, compared with PIT without the difference; docs/theory/paper_vs_code.md
explains the differences. Those that pit_jax does not offer are neurons and functions in this file,
which a config names by their import paths. Writes benchmarks/readings.json.
"""

import sys
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from benchmarks.dig200 import Row, run_rows
from pit_jax.initializers import SCALE_FLOOR
from pit_jax.neurons import PIT, scale
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import run_over_time
from pit_jax.neurons.step import charge, pit_count, pit_fire, quotient
from pit_jax.surrogate import clipped_round, inside, round_half_up

Membranes = Float[Array, "*N"]
Scales = Float[Array, " C"]


class OwnPIT(PIT):
    """PIT with `count` and `fire` as methods, which the readings below override."""

    def count(self, u: Membranes, a: Scales) -> Membranes:
        """Return the integers that the neurons fire."""
        return pit_count(u, a, levels=self.levels)

    def fire(self, u: Membranes, a: Scales) -> Membranes:
        """Return the scaled spikes, with their gradients."""
        return pit_fire(u, a, levels=self.levels, strength=self.strength)

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        leak = partial(charge, decay=self.decay, decay_input=self.decay_input)
        reset = partial(self.reset, detach=self.detach_reset)
        start = partial(scale.start_scale, self, charge=leak, fire=self.fire, reset=reset)

        def step(v: Array, current: Array, a: Array) -> tuple[Array, tuple[Array, ...]]:
            u = leak(v, current)
            s = self.fire(u, a)
            return reset(u, s), (u, self.count(u, a), s)

        a = scale.apply_floor(self.parametrize(self, start, current))
        u, count, s = run_over_time(step, current, a, unroll=self.unroll)
        record(self, u, count, self.levels, scale=a)
        return s.astype(current.dtype)


class CeilingPIT(OwnPIT):
    """PIT with the ceiling in dis(x): the factor of Eq. 13 is 1 - strength * (ceil(x) - x)."""

    def fire(self, u: Membranes, a: Scales) -> Membranes:
        x = quotient(u, a)
        factor = stop_gradient(1 - self.strength * (jnp.ceil(x) - x))
        u = stop_gradient(u) + (u - stop_gradient(u)) * factor
        return pit_fire(u, a, levels=self.levels, strength=0.0)


class AutodiffPIT(OwnPIT):
    """PIT whose gradient of `a` is by autodiff: Eq. 32 contains the factor of Eq. 13 as well."""

    def fire(self, u: Membranes, a: Scales) -> Membranes:
        return a * clipped_round(quotient(u, a), self.levels, self.strength)


class EvenPIT(OwnPIT):
    """PIT that rounds half to even."""

    def count(self, u: Membranes, a: Scales) -> Membranes:
        return jnp.clip(jnp.round(quotient(u, a)), 0, self.levels)

    def fire(self, u: Membranes, a: Scales) -> Membranes:
        # Half up and half to even differ at half integers only, by one level.
        moved = self.count(u, a) - pit_count(u, a, levels=self.levels)
        return super().fire(u, a) + a * stop_gradient(moved)


class NormPIT(OwnPIT):
    """PIT whose correction is divided by the norm of the gradient of its layer and step.

    Args:
        ceiling: whether dis(x) has the ceiling instead of the floor.
    """

    ceiling: bool = False

    def fire(self, u: Membranes, a: Scales) -> Membranes:
        constant = stop_gradient(a)
        x = _clip(quotient(u, constant), self.levels)
        s = constant * _round_by_norm(x, self.strength, self.ceiling)
        # The gradient of a is Eq. 32, which the correction does not change.
        of_a = pit_fire(stop_gradient(u), a, levels=self.levels, strength=0.0)
        return s + (of_a - stop_gradient(of_a))


class ReleasedPIT(EvenPIT):
    """The authors' neuron: half to even, ceiling, norm, and the gradient of `a` by autodiff."""

    def fire(self, u: Membranes, a: Scales) -> Membranes:
        x = _clip(quotient(u, a), self.levels)
        rounded = _round_by_norm(x, self.strength, True)
        return a * (rounded + stop_gradient(jnp.round(x) - rounded))


def block_below_floor(neuron: nn.Module, first_batch: scale.FirstBatch, current: Array) -> Array:
    """Parametrize `a` as in the paper, without a gradient below the floor."""
    return _block_gradient(scale.per_channel(neuron, first_batch, current))


def released_above_floor(neuron: nn.Module, first_batch: scale.FirstBatch, current: Array) -> Array:
    """Parametrize `a` as in the released code, without a gradient below the floor."""
    return _block_gradient(scale.released(neuron, first_batch, current))


def _block_gradient(a: Array) -> Array:
    return jnp.where(a >= SCALE_FLOOR, a, stop_gradient(a))


def _clip(x: Array, levels: int) -> Array:
    """Return clip(x, 0, levels) with the gradient of torch.clamp, which passes at both ends."""
    return jnp.where(inside(x, levels), x, stop_gradient(jnp.clip(x, 0, levels)))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _round_by_norm(x: Array, strength: float, ceiling: bool) -> Array:
    """Round half up; the gradient is g + strength * (1/2 - |dis(x)|) * g / norm(g)."""
    return round_half_up(x)


def _round_by_norm_backward(strength: float, ceiling: bool, x: Array, g: Array) -> tuple[Array]:
    dis = x - (jnp.ceil(x) if ceiling else jnp.floor(x)) - 0.5
    return (g + strength * (0.5 - jnp.abs(dis)) * g / jnp.linalg.norm(g),)


_round_by_norm.defvjp(lambda x, strength, ceiling: (round_half_up(x), x), _round_by_norm_backward)


HERE = "benchmarks.readings"
ONE_STEP, FOUR_STEPS = "paper 1x4", "paper 4x1"
# Keys that each row changes in the variant `paper`.
AT_ONE_STEP = {
    "one learned factor": {"neuron.parametrize": "released"},
    "blocking floor": {"neuron.parametrize": f"{HERE}:block_below_floor"},
    "ceiling": {"neuron.name": f"{HERE}:CeilingPIT"},
    "norm": {"neuron.name": f"{HERE}:NormPIT"},
    "norm and ceiling": {"neuron.name": f"{HERE}:NormPIT", "neuron.ceiling": True},
    "strength 0": {"neuron.strength": 0.0},
    "strength 0.001": {"neuron.strength": 0.001},
    "strength 0.1": {"neuron.strength": 0.1},
    "factor in Eq. 32": {"neuron.name": f"{HERE}:AutodiffPIT"},
    "LSQ's factor": {"neuron.parametrize": "lsq"},
    "half to even": {"neuron.name": f"{HERE}:EvenPIT"},
    "decayed input": {"neuron.decay_input": True},
    "levels 1": {"neuron.levels": 1},
    "levels 2": {"neuron.levels": 2},
    "start: variance": {"neuron.scale_init": "released"},
    "start: 3 sigma / D": {"neuron.scale_init": "covering"},
    "start: ones": {"neuron.scale_init": "ones"},
    "start: min_max": {"neuron.scale_init": "min_max"},
    "start: LSQ": {"neuron.scale_init": "lsq"},
}
AT_FOUR_STEPS = {
    "hard reset": {"neuron.reset": "hard"},
    "detached reset": {"neuron.detach_reset": True},
    "decayed input": {"neuron.decay_input": True},
    "decay 0.25": {"neuron.decay": 0.25},
    "decay 1": {"neuron.decay": 1.0},
    "norm per step": {"model.norm.name": "PerStepBatchNorm"},
}
IN_FULL = {
    "neuron.name": f"{HERE}:ReleasedPIT",
    "neuron.parametrize": f"{HERE}:released_above_floor",
}
BINARY = {"neuron.levels": 1, "num_steps": 4}
ROWS = {
    ONE_STEP: Row("paper"),
    **{name: Row("paper", keys, ONE_STEP) for name, keys in AT_ONE_STEP.items()},
    "released": Row("released", {}, ONE_STEP),
    "released in full": Row("released", IN_FULL, ONE_STEP),
    FOUR_STEPS: Row("paper", BINARY),
    **{
        f"{name} 4x1": Row("paper", BINARY | keys, FOUR_STEPS)
        for name, keys in AT_FOUR_STEPS.items()
    },
}


if __name__ == "__main__":
    run_rows(sys.argv, ROWS, 20, Path(__file__).with_suffix(".json"))
