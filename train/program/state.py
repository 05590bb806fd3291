"""The state of a run: everything that one training step passes to the next."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from pit_jax.interop import complete
from pit_jax.jaxprs import draw_at_once
from pit_jax.neurons.probe import Rounding, measure_rounding

from .sharding import place

Metrics = dict[str, Array]


class TrainState(flax.struct.PyTreeNode):
    """The state after `step` training steps; `totals` are sums over the current epoch.

    `averaged` has exponential averages of parameters and statistics, or is empty. `skipped` counts
    the steps whose loss or gradient was not finite; `bad` is the last of them, or -1. The key never
    changes: a step draws from `fold_in(key, step)`, so a resumed run draws the same numbers.
    """

    step: Int[Array, ""]
    key: Key[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: optax.OptState
    averaged: Any
    skipped: Int[Array, ""]
    bad: Int[Array, ""]
    totals: Metrics

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for evaluation: the averages, if the run has them."""
        return self.averaged or {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    init_key: Key[Array, ""],
    key: Key[Array, ""],
    images: Float[Array, "B ..."],
    given: Mapping[str, Any] = MappingProxyType({}),
    *,
    averaged: bool = False,
) -> tuple[TrainState, dict[str, Rounding]]:
    """Return the state before the first step, and how each layer rounds the membranes of `images`.

    PIT initializes its scales from `images`, the first training batch. Variables in `given` are
    used as they are; the others are initialized on top of them. With `averaged`, the averages
    start from the initial variables.
    """

    def start(key: Any, dropout_key: Any, images: Any, given: Any) -> Any:
        rngs = {"params": key, "dropout": dropout_key}
        if given:
            variables = complete(model, given, images, rngs, ["intermediates"])
        else:
            # By default `init` returns everything except what was sown.
            variables = dict(model.init(rngs, images, train=True, mutable=True))
        return variables, measure_rounding(variables.pop("intermediates", {}))

    begin = draw_at_once(start, has_aux=True)
    variables, rounding = begin(init_key, init_key, images, dict(given))
    # Flax initializes running statistics in float32 even under x64 but updates them in float64: the
    # types of a state must not change. Integers, such as a user's counters, keep their type.
    stats = jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        variables.get("batch_stats", {}),
    )
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=variables["params"],
        batch_stats=stats,
        opt_state=optimizer.init(variables["params"]),
        averaged={"params": variables["params"], "batch_stats": stats} if averaged else {},
        skipped=jnp.zeros((), jnp.int32),
        bad=jnp.full((), -1, jnp.int32),
        totals=jax.tree.map(jnp.asarray, make_zero_totals()),
    )
    return state, rounding


def unwrap_key(state: TrainState) -> TrainState:
    """Return the state as it is saved, with its key as an array of integers."""
    return state.replace(key=jax.random.key_data(state.key))


def wrap_key(state: TrainState) -> TrainState:
    """Return a saved state with its key restored; the inverse of `unwrap_key`."""
    return state.replace(key=jax.random.wrap_key_data(state.key))


def make_zero_totals() -> dict[str, np.ndarray]:
    """Return the zero sums at the start of an epoch, as arrays of the host."""
    zero = np.zeros((), jnp.result_type(float))
    return {"loss": zero, "correct": zero, "seen": zero}


def is_unevaluated(state: TrainState, steps_per_epoch: int) -> bool:
    """Return whether a state ends an epoch that has not been evaluated yet."""
    # The sums of an epoch become zero after its evaluation.
    ends = int(state.step) % steps_per_epoch == 0
    return ends and bool(jax.device_get(state.totals["seen"]))


def reset_totals(state: TrainState) -> TrainState:
    """Return the state with zero sums for a new epoch, with the shardings of the old sums."""
    totals = jax.tree.map(lambda x: place(np.zeros(x.shape, x.dtype), x.sharding), state.totals)
    return state.replace(totals=totals)
