"""VGG networks: VGG11 for event frames (Deng et al. 2022; Huang et al. 2024), VGG16 for images."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DROPOUT, NORM, each, flag, one_of, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.checks.neurons import check_neuron
from pit_jax.layers.encoding import add_time_axis
from pit_jax.layers.linear import check_channels, conv, dense
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.layers.pooling import adaptive_avg_pool
from pit_jax.models.feedforward import check_map, check_pool_after, conv_norm_neuron

# The reductions of the last map before the linear head: to 3 x 3 cells (the PIT authors) or 7 x 7
# (CLIF) at any size of the input, to its mean, or none.
HEADS: dict[str, Callable[[Array], Array]] = {
    "adaptive3": partial(adaptive_avg_pool, size=3),
    "adaptive7": partial(adaptive_avg_pool, size=7),
    "gap": partial(adaptive_avg_pool, size=1),
    "flatten": lambda x: x,
}


@set_bounds(
    num_classes=whole(1),
    neuron=check_neuron,
    num_steps=whole(1),
    widths=each(whole(1), least=1),
    pool_after=each(whole(0)),
    head=one_of(*HEADS),
    conv_bias=flag,
    norm=NORM,
    dropout=DROPOUT,
    head_dropout=DROPOUT,
    dtype=check_dtype,
)
class VGG(nn.Module):
    """Spiking VGG: images `[B, H, W, C]` or frames `[B, T, H, W, C]` to logits
    `[B, T, num_classes]`.

    3 x 3 convolutions, each with norm, neuron and `dropout`, and average pools between them; then a
    pool of `HEADS`, `head_dropout` and a linear head at every step. The first current of an image
    is computed once and used at every step. Raises ValueError for an unknown `head`, for
    `pool_after` that does not fit `widths` or the size of the input, and for an input with the
    wrong rank, number of steps or channels.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        num_steps: time steps T.
        widths: channels of each convolution.
        pool_after: the convolutions, counted from 1, after which a 2 x 2 pool halves the map.
        head: how the linear head reads the last map: adaptive3 and adaptive7 (pooled to 3 x 3 or 7
            x 7 cells), gap (its mean) or flatten (all of it).
        conv_bias: give the convolutions a bias.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dropout: the dropout rate after each neuron, with one mask for all steps.
        head_dropout: the dropout rate before the linear head.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512, 512, 512)
    pool_after: tuple[int, ...] = (2, 4, 6, 8)
    head: str = "adaptive3"
    conv_bias: bool = True
    norm: Norm = batch_norm
    dropout: float = 0.0
    head_dropout: float = 0.25
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_pool_after(self.pool_after, len(self.widths))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        norm = partial(self.norm, use_running_average=not train, dtype=self.dtype)
        # One mask for all steps of a sample, as in SpikingJelly.
        dropout = partial(nn.Dropout, broadcast_dims=(1,), deterministic=not train)
        # Initial values as in CLIF's code: kernels fan_out normal, biases 0, the head N(0, 0.01^2).
        bias = nn.initializers.zeros if self.conv_bias else None
        x = add_time_axis(x, self.num_steps)
        check_channels(self, "conv1", x)
        check_map(x, len(self.pool_after))
        for number, features in enumerate(self.widths, start=1):
            x = conv_norm_neuron(
                x,
                number,
                conv=partial(conv, features, 3, bias=bias, dtype=self.dtype),
                norm=norm,
                neuron=self.neuron,
                num_steps=self.num_steps,
            )
            x = dropout(self.dropout)(x)
            # Pools follow neuron and dropout, as in the authors' code.
            if number in self.pool_after:
                x = nn.avg_pool(x, (2, 2), (2, 2))
        x = HEADS[self.head](x)
        x = dropout(self.head_dropout)(x.reshape(*x.shape[:2], -1))
        kernel_init = nn.initializers.normal(0.01)
        return dense(self.num_classes, kernel_init=kernel_init, dtype=self.dtype, name="head")(x)


# VGG11 with the pools for CIFAR10-DVS, and VGG16 for CIFAR.
vgg11 = VGG
vgg16 = partial(
    VGG,
    widths=(64,) * 2 + (128,) * 2 + (256,) * 3 + (512,) * 6,
    pool_after=(2, 4, 7, 10, 13),
    head="gap",
    # 14,724,042 parameters, the printed 14.72M; with biases they would be 14,728,266.
    conv_bias=False,
    head_dropout=0.0,
)
