"""The loop over time: the only file in which time is the first axis."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.arrays import read_array
from pit_jax.old_names import serve_old_names


def widen(dtype: DTypeLike) -> DTypeLike:
    """Return float32, or `dtype` if it is wider: the dtype of membranes and parameters."""
    # As JAX has it: without x64 the float64 of NumPy's arrays is float32.
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def narrow(spikes: Array, current: Array) -> Array:
    """Return `spikes` in the dtype of `current`: membranes are float32 for any of them."""
    return spikes.astype(jax.dtypes.canonicalize_dtype(current.dtype))


def weigh(current: Array, weight: float | Array) -> Array:
    """Return `weight * current` in the dtype of membranes."""
    return weight * current.astype(widen(current.dtype))


def read_currents(current: Any) -> Array:
    """Return currents, an array or a nested list, as an array.

    Raises ValueError unless they have a batch, time and channel axis and a float dtype.
    """
    values = read_values(current)
    if values.ndim < 3:
        raise ValueError(
            f"a neuron takes currents [B, T, ..., C], got shape {values.shape}; "
            "add a time axis with x[:, None] for a single step."
        )
    return values


def read_values(current: Any) -> Array:
    """Return currents with any axes as an array; raise ValueError unless they are floats.

    Without values their mean, an initial scale, would be NaN, so an empty array is refused.
    """
    values: Array = read_array("the currents of a neuron", current)
    if not values.size:
        raise ValueError(f"a neuron takes currents of at least one value, got {values.shape}.")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(f"a neuron takes floating-point currents, got {values.dtype}.")
    return values


def run_over_time(
    step: Callable[..., tuple[Any, Any]],
    current: Float[Array, "*BTNC"],
    *per_step: Array,
    state: Callable[[Array], Any] = lambda rest: rest,
    unroll: int = 4,
) -> Any:
    """Run `step(v, current_t, *per_step_t) -> (v, out_t)` from v = 0; return `out` `[B, T, ...]`.

    For a neuron with a state of more than a membrane, `state` makes the initial state from a zero
    membrane. `per_step` arrays have time as their first axis. The loop runs in float32 or wider
    for any dtype of `current`. `unroll` steps are compiled as straight-line code, so T <= `unroll`
    needs no loop. Raises ValueError unless `current` has batch, time and channel axes and a float
    dtype.
    """
    current = read_currents(current)
    # Every call starts at rest: no membrane passes from one batch to the next.
    at_rest = state(jnp.zeros_like(current[:, 0], widen(current.dtype)))
    return run_from(step, at_rest, current, *per_step, unroll=unroll)[1]


def run_from(
    step: Callable[..., tuple[Any, Any]],
    v: Any,
    current: Float[Array, "*BTNC"],
    *per_step: Array,
    unroll: int = 4,
) -> tuple[Any, Any]:
    """Run `step` as `run_over_time` does, from the state `v`; return the last state and `out`."""
    # A bfloat16 membrane has 8 bits: it would lose small currents, and move across ties.
    current = current.astype(widen(current.dtype))
    # lax.scan runs over the first axis.
    steps = (jnp.moveaxis(current, 1, 0), *per_step)
    v, out = jax.lax.scan(lambda v, inputs: step(v, *inputs), v, steps, unroll=unroll)
    return v, jax.tree.map(lambda y: jnp.moveaxis(y, 0, 1), out)


serve_old_names(__name__)
