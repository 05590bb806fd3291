"""Images or frames to the input of the first layer, `[B, T, H, W, C]`."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from pit_jax.checks.arrays import read_array
from pit_jax.checks.bounds import set_bounds, whole
from pit_jax.old_names import serve_old_names


@set_bounds(num_steps=whole(1))
def add_time_axis(x: Float[Array, "..."], num_steps: int) -> Float[Array, "B T H W C"]:
    """Return images `[B, H, W, C]` as one step `[B, 1, H, W, C]`, and frames unchanged.

    Raises ValueError for any other rank, for an empty axis, and for frames `[B, T, H, W, C]` with
    T != `num_steps`.
    """
    x = read_array("the input of a network", x)
    if x.ndim in (4, 5) and not x.size:
        raise ValueError(f"the input {x.shape} is empty; pass at least one image.")
    if x.ndim == 4:
        # One step, not T: layers before the first neuron run once for an image, see
        # repeat_over_time.
        return x[:, None]
    if x.ndim != 5:
        raise ValueError(
            f"a network takes images [B, H, W, C] or frames [B, T, H, W, C], got shape {x.shape}."
        )
    if x.shape[1] != num_steps:
        raise ValueError(
            f"the network runs num_steps={num_steps} steps, but the frames {x.shape} have "
            f"T={x.shape[1]}; build it with num_steps={x.shape[1]} or integrate {num_steps} frames."
        )
    return x


@set_bounds(num_steps=whole(1))
def repeat_over_time(current: Float[Array, "B t ..."], num_steps: int) -> Float[Array, "B T ..."]:
    """Repeat the current of one step, which is computed once, for every step (direct encoding).

    Raises ValueError unless T is 1 or `num_steps`.
    """
    if current.ndim < 2 or current.shape[1] not in (1, num_steps):
        raise ValueError(
            f"repeat_over_time takes one step [B, 1, ...], got {current.shape}; add the axis of "
            "time with x[:, None]."
        )
    # A broadcast, so that the layers before it run once and not once per step.
    batch, _, *rest = current.shape
    return jnp.broadcast_to(current, (batch, num_steps, *rest))


serve_old_names(__name__)
