"""The loop over time: the only file that sees the time axis first."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.old_names import serve_old_names


def widen(dtype: DTypeLike) -> DTypeLike:
    """Return float32, or `dtype` where that is wider: membranes and parameters are of it."""
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def check_currents(current: Float[Array, "*BTNC"]) -> None:
    """Raises ValueError when `current` has no batch, time and channel axis or holds no floats."""
    if current.ndim < 3:
        raise ValueError(
            f"a neuron takes currents [B, T, ..., C], got shape {current.shape}; "
            "add a time axis with x[:, None] for a single step."
        )
    if not jnp.issubdtype(current.dtype, jnp.floating):
        raise ValueError(f"a neuron takes floating-point currents, got {current.dtype}.")


def run_over_time(
    step: Callable[..., tuple[Any, Any]],
    current: Float[Array, "*BTNC"],
    *per_step: Array,
    state: Callable[[Array], Any] = lambda rest: rest,
    unroll: int = 4,
) -> Any:
    """Run `step(v, current_t, *per_step_t) -> (v, out_t)` from v = 0; return `out` `[B, T, ...]`.

    A neuron with more than a membrane makes its first state from zeros of that shape by `state`.
    `per_step` arrays have time as their first axis. The loop runs in float32 or wider whatever the
    dtype of `current`. Up to `unroll` steps become straight code, so T <= `unroll` has no loop.
    Raises ValueError when `current` has no batch, time and channel axis or holds no floats.
    """
    check_currents(current)
    current = current.astype(widen(current.dtype))
    steps = (jnp.moveaxis(current, 1, 0), *per_step)
    at_rest = state(jnp.zeros_like(steps[0][0]))
    _, out = jax.lax.scan(lambda v, inputs: step(v, *inputs), at_rest, steps, unroll=unroll)
    return jax.tree.map(lambda y: jnp.moveaxis(y, 0, 1), out)


serve_old_names(__name__)
