"""Membrane potential batch norm (MPBN): a neuron that normalizes its membrane before firing."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax import surrogate
from pit_jax.checks.bounds import DECAY, FIRING, POSITIVE, flag, set_bounds, whole
from pit_jax.layers.norm import (
    EPSILON,
    make_running_statistics,
    moments,
    move_statistic,
    standardize,
)
from pit_jax.neurons.probe import record
from pit_jax.neurons.scan import narrow, read_currents, widen
from pit_jax.neurons.state import Outputs, begin, finish, scan_neuron
from pit_jax.neurons.step import Spike, charge, fire, hard_reset, prepend_axes
from pit_jax.old_names import serve_old_names


@set_bounds(decay=DECAY, threshold=POSITIVE, spike=FIRING, detach_reset=flag, unroll=whole(1))
class NormedLIF(nn.Module):
    """A LIF neuron with a batch norm between charge and fire (MPBN, Guo et al. 2023):
    `[B, T, ..., C]` currents to spikes 0 and 1.

    s = H(scale (u - mean) / sqrt(var + eps) + bias - threshold); the hard reset acts on u itself.
    Statistics are taken per step, over batch and space. All steps share one set of running
    statistics, which is updated T times per batch. The neuron uses the batch's statistics if
    `batch_stats` is mutable, as in a training step, else the running ones. The defaults are the
    authors': decay 1/4, threshold 1/2, the reset with its gradient; their surrogate is steeper.

    Args:
        decay: the part of the membrane that remains from step to step (lambda of Eq. 1).
        threshold: the normalized membrane at which it fires.
        spike: the firing function, one of surrogate.SPIKES: rectangle, triangle, sigmoid or arctan.
        detach_reset: stop the gradient through the spikes that reset the membrane.
        unroll: time steps to unroll in one iteration of the compiled loop.
    """

    decay: float = 0.25
    threshold: float = 0.5
    spike: Spike = surrogate.rectangle
    detach_reset: bool = False
    unroll: int = 4

    @nn.compact
    def __call__(
        self,
        current: Float[Array, "*BTNC"],
        initial_state: Any = None,
        return_state: bool = False,
    ) -> Outputs:
        current = read_currents(current)
        state = begin(self, current, initial_state, return_state, "membrane")
        channels, dtype = current.shape[-1], widen(current.dtype)
        scale = self.param("scale", nn.initializers.ones, (channels,), dtype)
        bias = self.param("bias", nn.initializers.zeros, (channels,), dtype)
        running = make_running_statistics(self, channels, dtype)
        # Networks make neurons without arguments, so there is no flag `train` here.
        training = self.is_mutable_collection("batch_stats")

        def step(v: Array, current: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
            u = charge(v, current, decay=self.decay)
            # Each step has its own statistics: the membrane depends on the spikes of earlier steps,
            # so they are not known before the loop.
            if training:
                mean, var = moments(u, axes=tuple(range(u.ndim - 1)))
            else:
                mean, var = (prepend_axes(statistic.value, u.ndim) for statistic in running)
            normed = prepend_axes(scale, u.ndim) * standardize(u, mean, var)
            s = fire(
                normed + prepend_axes(bias, u.ndim), threshold=self.threshold, spike=self.spike
            )
            return hard_reset(u, s, detach=self.detach_reset), (u, s, mean, var)

        (u, s, *statistics), state = scan_neuron(self, step, current, state)
        # Initialization leaves the statistics at mean 0 and variance 1, as Flax's batch norm does.
        if training and not self.is_initializing():
            for statistic, steps in zip(running, statistics, strict=True):
                move_statistic(statistic, steps)
        record(self, u, s, levels=1)
        return finish(narrow(s, current), state, return_state)


def fold_threshold(
    neuron: NormedLIF, params: Mapping[str, Any], batch_stats: Mapping[str, Any]
) -> Float[Array, " C"]:
    """Return thresholds `[C]` with which a plain LIF with hard reset fires the spikes of `neuron`.

    They are (threshold - bias) sqrt(var + eps) / scale + mean, from the neuron's own `params` and
    running statistics. Raises ValueError unless every scale is positive.
    """
    scale = params["scale"]
    # Dividing scale (u - mean) / sqrt(var + eps) + bias >= threshold by a negative scale turns the
    # inequality round: that neuron fires below a membrane, which no threshold of a LIF does.
    if not (scale > 0).all():
        raise ValueError(
            "a norm folds into a threshold only if its scales are positive, but the smallest of "
            f"{scale.size} is {scale.min()}; keep the norm, or retrain with positive scales."
        )
    deviation = jnp.sqrt(batch_stats["var"] + EPSILON)
    return (neuron.threshold - params["bias"]) * deviation / scale + batch_stats["mean"]


serve_old_names(__name__)
