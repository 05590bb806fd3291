"""Spike-driven Transformer (Yao et al. 2023): attention by masks, shortcuts that carry currents."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import BLOCKS, NORM, POSITIVE, each, set_bounds, whole
from pit_jax.checks.dtypes import check_dtype
from pit_jax.checks.neurons import check_neuron, check_optional_neuron
from pit_jax.layers.attention import channel_attention, check_heads
from pit_jax.layers.conv_norm import ConvNorm, conv_norm
from pit_jax.layers.encoding import add_time_axis, repeat_over_time
from pit_jax.layers.linear import check_channels, dense, uniform_bias, uniform_fan_in
from pit_jax.layers.norm import Norm, batch_norm
from pit_jax.layers.remat import REMAT, apply_remat
from pit_jax.old_names import serve_old_names

# The authors truncate it at 2, a hundred standard deviations away, so a plain normal is the same.
weights = nn.initializers.normal(0.02)


class SpikeDrivenAttention(nn.Module):
    """Spike-driven self-attention, with neurons on its input, query, key and value, and
    `gate_neuron` on the sum over tokens."""

    heads: int
    neuron: Callable[[], nn.Module]
    gate_neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        channels = x.shape[-1]
        spikes = self.neuron()(x)
        query, key, value = (
            self.neuron()(self.conv_norm(spikes, channels, 1, name=name))
            for name in ("query", "key", "value")
        )
        # Nothing reads this kernel. The authors' blocks have it too, so their parameter counts and
        # checkpoints include it.
        square = (1, self.heads, self.heads)
        self.param("talking_heads", lambda rng: {"kernel": uniform_fan_in(rng, square, float)})
        y = channel_attention(query, key, value, self.gate_neuron())
        return self.conv_norm(y, channels, 1, bias=nn.initializers.zeros, name="projection")


class SpikeDrivenMLP(nn.Module):
    """An MLP of two layers (neuron, 1 x 1 convolution, norm), to `hidden` channels and back, plus
    the shortcut."""

    hidden: int
    neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        layer = partial(self.conv_norm, size=1, bias=nn.initializers.zeros)
        y = layer(self.neuron()(x), self.hidden, name="expand")
        if self.hidden == x.shape[-1]:  # The authors' code adds a shortcut here where shapes match.
            x = y = x + y
        return x + layer(self.neuron()(y), x.shape[-1], name="contract")


class Block(nn.Module):
    """A block of attention and an MLP, each added to the membrane current that it reads."""

    heads: int
    hidden: int
    neuron: Callable[[], nn.Module]
    gate_neuron: Callable[[], nn.Module]
    conv_norm: ConvNorm

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        x = x + SpikeDrivenAttention(
            self.heads, self.neuron, self.gate_neuron, self.conv_norm, name="attention"
        )(x)
        return SpikeDrivenMLP(self.hidden, self.neuron, self.conv_norm, name="mlp")(x)


@set_bounds(
    num_classes=whole(1),
    neuron=check_neuron,
    num_steps=whole(1),
    depth=BLOCKS,
    width=whole(8, hint=": the first convolution has width // 8 channels"),
    heads=whole(1),
    mlp_ratio=POSITIVE,
    pool_after=each(whole(1, 4)),
    gate_neuron=check_optional_neuron,
    norm=NORM,
    dtype=check_dtype,
    remat=REMAT,
)
class SpikeDrivenTransformer(nn.Module):
    """Spike-driven Transformer: images `[B, H, W, C]` or frames `[B, T, H, W, C]` to logits
    `[B, T, num_classes]`.

    Four 3 x 3 convolutions embed patches in width / 8, width / 4, width / 2 and `width` channels; a
    3 x 3 convolution of the spikes adds the positions; then come `depth` blocks, the mean over
    space, a neuron and a linear head. The pools round up, so that no map vanishes; the authors use
    `pool_after=(3, 4)` for CIFAR, and a LIF with half the threshold as `gate_neuron`. The first
    current of an image is computed once and used at every step. Raises ValueError when `heads` does
    not divide `width`, for a `width` < 8, for `pool_after` outside 1 .. 4, and for an input with
    the wrong rank, number of steps or channels.

    Args:
        num_classes: the number of logits at each step.
        neuron: a function without arguments that makes the neuron of a layer.
        num_steps: time steps T.
        depth: the number of blocks.
        width: channels of the blocks.
        heads: sets only the shape of an unused parameter, as in the authors' code.
        mlp_ratio: the ratio of the channels inside an MLP to width.
        pool_after: which of the first four convolutions are followed by a max-pool of stride 2.
        gate_neuron: another neuron for the attention's sum over tokens; default: the network's
            neuron.
        norm: the norm of every layer, one of layers.norm.NORMS or a function that makes one.
        dtype: the dtype of the computation; parameters are float32 (float64 under x64).
        remat: what blocks store for the gradient: "none" stores all, "convolutions" what
            convolutions and products return, "blocks" only the input.
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    depth: int = 8
    width: int = 384
    heads: int = 8
    mlp_ratio: float = 4.0
    pool_after: tuple[int, ...] = (1, 2, 3, 4)
    gate_neuron: Callable[[], nn.Module] | None = None
    norm: Norm = batch_norm
    dtype: DTypeLike | None = None
    remat: str = "none"

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool = False) -> Float[Array, "B T K"]:
        layer = partial(
            conv_norm,
            norm=partial(self.norm, use_running_average=not train, dtype=self.dtype),
            kernel_init=weights,
            dtype=self.dtype,
        )
        x = add_time_axis(x, self.num_steps)
        check_channels(self, "patch1", x)
        x = layer(x, self.width // 8, 3, name="patch1")
        x = self.pool(self.neuron()(repeat_over_time(x, self.num_steps)), after=1)
        x = self.pool(self.neuron()(layer(x, self.width // 4, 3, name="patch2")), after=2)
        x = self.pool(self.neuron()(layer(x, self.width // 2, 3, name="patch3")), after=3)
        # The last pool comes before the neuron, because from here on shortcuts carry currents.
        x = self.pool(layer(x, self.width, 3, name="patch4"), after=4)
        x = x + layer(self.neuron()(x), self.width, 3, name="position")
        for block in range(self.depth):
            x = apply_remat(Block, self.remat)(
                heads=self.heads,
                hidden=int(self.width * self.mlp_ratio),
                neuron=self.neuron,
                gate_neuron=self.gate_neuron or self.neuron,
                conv_norm=layer,
                name=f"block{block + 1}",
            )(x)
        x = self.neuron()(jnp.mean(x, axis=(2, 3)))
        bias = uniform_bias(fan_in=self.width)
        return dense(self.num_classes, bias=bias, dtype=self.dtype, name="head")(x)

    def pool(self, x: Float[Array, "B T H W C"], after: int) -> Float[Array, "B T h w C"]:
        """Apply a max-pool of stride 2 if `pool_after` has the convolution `after`."""
        if after not in self.pool_after:
            return x
        # Time is an axis of the window, because explicit padding allows one batch axis only.
        return nn.max_pool(x, (1, 3, 3), strides=(1, 2, 2), padding=((0, 0), (1, 1), (1, 1)))


spike_driven_transformer = partial(SpikeDrivenTransformer, depth=8, width=384)


serve_old_names(__name__)
