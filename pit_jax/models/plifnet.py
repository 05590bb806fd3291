"""PLIFNet: convolutions and two linear layers with neurons, then a vote (Fang et al. 2021b)."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import DROPOUT, NORM, each, function, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.checks.neurons import check_neuron
from pit_jax.layers.encoding import add_time_axis
from pit_jax.layers.linear import Initializer, check_channels, conv, dense, uniform_fan_in
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.layers.pooling import vote
from pit_jax.models.feedforward import check_map, check_pool_after, conv_norm_neuron


@set_bounds(
    num_classes=whole(1),
    neuron=check_neuron,
    num_steps=whole(1),
    widths=each(whole(1), least=1),
    pool_after=each(whole(0)),
    hidden=whole(1),
    voters=whole(1),
    norm=NORM,
    linear_init=function(),
    dropout=DROPOUT,
    dtype=check_dtype,
)
class PLIFNet(nn.Module):
    """Images `[B, H, W, C]` or frames `[B, T, H, W, C]` to mean votes `[B, T, num_classes]`.

    3 x 3 convolutions without bias, each with norm and neuron, and max-pools between them; then
    `dropout`, linear and neuron, twice. The logit of a class is the mean of its voters' spikes. The
    first current of an image is computed once and used at every step.

    The literature prints 37.31 M parameters: an encoder and two groups of three convolutions,
    `widths=(256,) * 7`. The authors' code counts the encoder among the first three,
    `widths=(256,) * 6, pool_after=(3, 6)`. For CIFAR10-DVS it has `widths=(128,) * 4` and for
    DVS-Gesture `widths=(128,) * 5, hidden=512`, with a pool after each convolution.

    With PyTorch's initial values and without a norm, the last layer of binary neurons is silent at
    first. A small network may then get no gradient through LIF's rectangle; pass a `linear_init`
    with larger weights.

    Raises ValueError for `pool_after` that does not fit `widths` or the size of the input, and for
    an input with the wrong rank, number of steps or channels.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        num_steps: time steps T.
        widths: channels of each convolution.
        pool_after: the convolutions, counted from 1, after which a 2 x 2 pool halves the map.
        hidden: features of the hidden linear layer.
        voters: neurons of the last layer for each class.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        linear_init: the Flax initializer of the weights of the linear layers.
        dropout: the dropout rate before both linear layers, with one mask for all steps.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    widths: tuple[int, ...] = (256,) * 7
    pool_after: tuple[int, ...] = (4, 7)
    hidden: int = 2048
    voters: int = 10
    norm: Norm = batch_norm
    linear_init: Initializer = uniform_fan_in
    dropout: float = 0.5
    dtype: DTypeLike | None = None

    def __post_init__(self) -> None:
        check_pool_after(self.pool_after, len(self.widths))
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        norm = partial(self.norm, use_running_average=not train, dtype=self.dtype)
        # One mask for all steps of a sample, as in SpikingJelly.
        dropout = partial(nn.Dropout, broadcast_dims=(1,), deterministic=not train)
        x = add_time_axis(x, self.num_steps)
        check_channels(self, "conv1", x)
        check_map(x, len(self.pool_after))
        for number, features in enumerate(self.widths, start=1):
            x = conv_norm_neuron(
                x,
                number,
                conv=partial(conv, features, 3, kernel_init=uniform_fan_in, dtype=self.dtype),
                norm=norm,
                neuron=self.neuron,
                num_steps=self.num_steps,
            )
            if number in self.pool_after:
                x = nn.max_pool(x, (2, 2), (2, 2))
        x = x.reshape(*x.shape[:2], -1)
        # Without biases, as in the authors' code.
        linear = partial(dense, bias=None, kernel_init=self.linear_init, dtype=self.dtype)
        # The head has neurons too, because the vote counts their spikes.
        for name, features in ("hidden", self.hidden), ("head", self.num_classes * self.voters):
            x = self.neuron()(linear(features, name=name)(dropout(self.dropout)(x)))
        return vote(x, self.voters)
