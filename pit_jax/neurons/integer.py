"""Neurons that fire integers 0..D without a scale: I-LIF."""

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import over_time
from pit_jax.neurons.step import charge, check_levels, soft_reset
from pit_jax.surrogate import clipped_round


class ILIF(nn.Module):
    """Integer LIF (Luo et al. 2024; Eqs. 8, 9 and 11): `[B, T, ..., C]` to integers 0..levels.

    The surrogate gradient is 1 for 0 <= u <= levels and 0 elsewhere. Raises ValueError when
    `levels` < 1.
    """

    levels: int = 4
    decay: float = 0.5
    detach_reset: bool = False
    decay_input: bool = False
    unroll: int = 4

    def __post_init__(self) -> None:
        check_levels(self.levels)
        super().__post_init__()

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        def step(v: Array, current: Array) -> tuple[Array, tuple[Array, Array]]:
            u = charge(v, current, decay=self.decay, decay_input=self.decay_input)
            s = clipped_round(u, self.levels)
            return soft_reset(u, s, detach=self.detach_reset), (u, s)

        u, s = over_time(step, current, unroll=self.unroll)
        record(self, u, s, self.levels)
        return s.astype(current.dtype)
