"""Real Spike: binary spikes that leave the layer with a learned amplitude per channel."""

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.bounds import FIRING, POSITIVE, RESET, flag, set_bounds, whole
from pit_jax.neurons.binary import IF, Reset, Spike
from pit_jax.neurons.over_time import CHECKPOINTS
from pit_jax.neurons.scan import read_currents, widen
from pit_jax.neurons.step import hard_reset, prepend_axes


@set_bounds(
    threshold=POSITIVE,
    spike=FIRING,
    reset=RESET,
    detach_reset=flag,
    unroll=whole(1),
    checkpoint_every=CHECKPOINTS,
)
class RealSpike(nn.Module):
    """An `IF` neuron that sends 0 or a learned amplitude per channel (Guo et al. 2022c).

    Membrane and reset use spikes of 0 and 1. The parameter `amplitude` `[C]` starts at 1, is the
    same at every step, and can be folded into the next layer's weights after training.

    Args:
        threshold: the membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        reset: how a spike resets the membrane, one of neurons.step.RESETS: soft, hard or clearing.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: the number of time steps up to which they are compiled without a loop.
        checkpoint_every: save the currents and every k-th state, and compute the others again; by
            default from 65 steps on, with k about the root of T.
    """

    threshold: float = 1.0
    spike: Spike = surrogate.arctan
    reset: Reset = hard_reset
    detach_reset: bool = True
    unroll: int = 4
    checkpoint_every: int | None = None

    @nn.compact
    def __call__(self, current: Float[Array, "*BTNC"]) -> Float[Array, "*BTNC"]:
        current = read_currents(current)
        spikes = IF(
            self.threshold,
            self.spike,
            self.reset,
            self.detach_reset,
            self.unroll,
            self.checkpoint_every,
            name="binary",
        )(current)
        dtype = widen(current.dtype)
        a = self.param("amplitude", nn.initializers.ones, (current.shape[-1],), dtype)
        return prepend_axes(a, spikes.ndim).astype(spikes.dtype) * spikes
