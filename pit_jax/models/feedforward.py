"""What networks without shortcuts share: convolutions in a row, each with its norm and neuron."""

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
    """Spikes of the layer that has `conv<number>` and `norm<number>` in the network which calls.

    Before the first neuron an image has one step only: its current is repeated for `num_steps`.
    """
    current = norm(name=f"norm{number}")(conv(name=f"conv{number}")(x))
    return neuron()(repeat_over_time(current, num_steps))


def check_pool_after(pool_after: tuple[int, ...], convolutions: int) -> None:
    """Raises ValueError unless `pool_after` counts up within 1 .. `convolutions`."""
    if list(pool_after) != sorted(set(pool_after) & set(range(1, convolutions + 1))):
        raise ValueError(
            f"pool_after={pool_after} must name convolutions from 1 to {convolutions}, "
            "in order and each once."
        )


def check_map(x: Float[Array, "B T H W C"], pools: int) -> None:
    """Raises ValueError when `x` is too small to be halved by `pools` pools."""
    if min(x.shape[2:4]) < 2**pools:
        raise ValueError(
            f"{pools} pools halve the map {pools} times, which takes images of at least "
            f"{2**pools} x {2**pools}, got {x.shape[2]} x {x.shape[3]}; give a shorter pool_after."
        )
