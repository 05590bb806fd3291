"""Parts of networks without shortcuts: a convolution with its norm and neuron, and checks."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from pit_jax.layers.encoding import repeat_over_time
from pit_jax.layers.norm import Norm


def conv_norm_neuron(
    x: Float[Array, "B t H W C"],
    number: int,
    *,
    conv: Callable[..., nn.Module],
    norm: Norm,
    neuron: Callable[[], nn.Module],
    num_steps: int,
) -> Float[Array, "B T h w c"]:
    """Apply `conv<number>`, `norm<number>` and a neuron; return the spikes.

    Before the first neuron an image has one step only; its current is repeated for `num_steps`.
    """
    current = norm(name=f"norm{number}")(conv(name=f"conv{number}")(x))
    return neuron()(repeat_over_time(current, num_steps))


def check_pool_after(pool_after: tuple[int, ...], convolutions: int) -> None:
    """Raise ValueError unless `pool_after` increases within 1 .. `convolutions`."""
    if list(pool_after) != sorted(set(pool_after) & set(range(1, convolutions + 1))):
        raise ValueError(
            f"pool_after must list convolutions from 1 to {convolutions} in increasing order, "
            f"got {pool_after}."
        )


def check_map(x: Float[Array, "B T H W C"], pools: int) -> None:
    """Raise ValueError if `x` is too small for `pools` pools of 2 x 2: a map would be empty."""
    if min(x.shape[2:4]) < 2**pools:
        raise ValueError(
            f"{pools} pools need images of at least {2**pools} x {2**pools}, got "
            f"{x.shape[2]} x {x.shape[3]}; use larger images or a shorter pool_after."
        )
