"""The state of a run: everything that it carries from step to step."""

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

from .sharding import place

Metrics = dict[str, Array]


class TrainState(flax.struct.PyTreeNode):
    """Parameters, statistics, optimizer, key after `step` steps; `totals` are the epoch's sums.

    `averaged` are exponential averages of parameters and statistics, empty in a run without.
    `skipped` steps so far had a loss or a gradient that was not finite, the last of them `bad`.
    All randomness of a step is `fold_in(key, step)`, so a resumed run draws what it would have.
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
        """What the network is tested with: the averages, if there are some."""
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
) -> TrainState:
    """Return the state before the first step; `images` is the first training batch, for PIT.

    The network takes the variables `given` and makes the others after them. With `averaged` the
    averages start too.
    """
    rngs = {"params": init_key, "dropout": init_key}
    variables: Mapping[str, Any]
    if given:
        variables = complete(model, given, images, rngs)
    else:
        variables = model.init(rngs, images, train=True)
    # Flax starts running statistics in float32 even under x64, and updates them in float64.
    # Integers, such as counters of a user's network, keep their type.
    stats = jax.tree.map(
        lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x,
        variables.get("batch_stats", {}),
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=key,
        params=variables["params"],
        batch_stats=stats,
        opt_state=optimizer.init(variables["params"]),
        averaged={"params": variables["params"], "batch_stats": stats} if averaged else {},
        skipped=jnp.zeros((), jnp.int32),
        bad=jnp.full((), -1, jnp.int32),
        totals=jax.tree.map(jnp.asarray, zero_totals()),
    )


def unwrap_key(state: TrainState) -> TrainState:
    """Return the state as it is stored, with its key as plain numbers."""
    return state.replace(key=jax.random.key_data(state.key))


def wrap_key(state: TrainState) -> TrainState:
    """Return the state that `unwrap_key` was given."""
    return state.replace(key=jax.random.wrap_key_data(state.key))


def zero_totals() -> dict[str, np.ndarray]:
    """Return the sums with which an epoch starts, on the host."""
    zero = np.zeros((), jnp.result_type(float))
    return {"loss": zero, "correct": zero, "seen": zero}


def reset_totals(state: TrainState) -> TrainState:
    """Return the state with the sums of a new epoch, placed as those before."""
    totals = jax.tree.map(lambda x: place(np.zeros(x.shape, x.dtype), x.sharding), state.totals)
    return state.replace(totals=totals)
