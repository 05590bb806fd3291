"""CIFARNet: five wide convolutions and two linear layers (Wu et al. 2021)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DROPOUT, NORM, each, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.checks.neurons import check_neuron
from pit_jax.layers.encoding import add_time_axis
from pit_jax.layers.linear import check_channels, conv, dense, uniform_bias, uniform_fan_in
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.models.feedforward import conv_norm_neuron


@set_bounds(
    num_classes=whole(1),
    neuron=check_neuron,
    num_steps=whole(1),
    widths=each(whole(1)),
    strides=each(whole(1)),
    hidden=whole(1),
    norm=NORM,
    dropout=DROPOUT,
    dtype=check_dtype,
)
class CIFARNet(nn.Module):
    """Images `[B, H, W, C]` or frames `[B, T, H, W, C]` to logits `[B, T, num_classes]`.

    3 x 3 convolutions, each with norm and neuron; a linear layer with norm and neuron; then
    `dropout` and a linear head at every step. The first current of an image is computed once and
    used at every step. Raises ValueError when `widths` and `strides` are empty or differ in length,
    and for an input with the wrong rank, number of steps or channels.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        num_steps: time steps T.
        widths: channels of each convolution.
        strides: the stride of each convolution.
        hidden: features of the hidden linear layer.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dropout: the dropout rate before the head, with one mask for all steps.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    # 44,490,250 parameters for 10 classes; the printed 44.48M counts the weights alone.
    widths: tuple[int, ...] = (128, 256, 512, 1024, 512)
    strides: tuple[int, ...] = (1, 2, 2, 1, 1)
    hidden: int = 1024
    # The authors' momentum 0.9 follows PyTorch's convention, where it is the weight of the newest
    # batch; Flax's is the weight of the old statistics.
    norm: Norm = partial(batch_norm, epsilon=1e-4, momentum=0.1)
    dropout: float = 0.2
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.widths) == len(self.strides):
            raise ValueError(
                "widths and strides must have the same length, at least 1; got "
                f"{len(self.widths)} widths and {len(self.strides)} strides."
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        norm = partial(self.norm, use_running_average=not train, dtype=self.dtype)
        x = add_time_axis(x, self.num_steps)
        check_channels(self, "conv1", x)
        for number, (features, stride) in enumerate(
            zip(self.widths, self.strides, strict=True), start=1
        ):
            x = conv_norm_neuron(
                x,
                number,
                conv=partial(
                    conv,
                    features,
                    3,
                    stride,
                    bias=uniform_bias(fan_in=9 * x.shape[-1]),
                    kernel_init=uniform_fan_in,
                    dtype=self.dtype,
                ),
                norm=norm,
                neuron=self.neuron,
                num_steps=self.num_steps,
            )
        x = self.linear(self.hidden, x.reshape(*x.shape[:2], -1), name="hidden")
        x = self.neuron()(norm(name="hidden_norm")(x))
        # One mask for all steps of a sample, as in SpikingJelly.
        x = nn.Dropout(self.dropout, broadcast_dims=(1,), deterministic=not train)(x)
        return self.linear(self.num_classes, x, name="head")

    def linear(
        self, features: int, x: Float[Array, "B T n"], name: str
    ) -> Float[Array, "B T {features}"]:
        """Apply a linear layer with PyTorch's initial values."""
        bias = uniform_bias(fan_in=x.shape[-1])
        return dense(features, bias=bias, dtype=self.dtype, name=name)(x)
