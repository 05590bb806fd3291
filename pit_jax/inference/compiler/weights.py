"""Gains and mixings of spikes, taken into the weights that read them."""

from dataclasses import replace

import jax
import numpy as np

from pit_jax.inference.compiler.folded import (
    Conv,
    Dense,
    Synapse,
    Value,
    Weight,
)
from pit_jax.inference.compiler.trace import (
    ModelLayer,
)
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.reductions import Reshape, Shape, Structure, Sum


def steps_alike(*arrays: np.ndarray) -> list[np.ndarray]:
    """Arrays `[1 or T, ...]`, each with all steps."""
    steps = max(map(len, arrays))
    return [np.broadcast_to(a, (steps, *a.shape[1:])) for a in arrays]


def aligned(a: np.ndarray, ndim: int) -> np.ndarray:
    """`[T, ...]` with axes of size 1 behind time, so that it has `ndim`."""
    return a.reshape(len(a), *(1,) * (ndim - a.ndim), *a.shape[1:])


def times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of two gains, of which one may be the same at every place."""
    ndim = max(a.ndim, b.ndim)
    return aligned(a, ndim) * aligned(b, ndim)


def plus(a: Value, b: Value) -> np.ndarray:
    """The sum of two biases."""
    ndim = max(a.bias.ndim, b.bias.ndim)
    return aligned(a.bias, ndim) + aligned(b.bias, ndim)


def behind(structure: Structure, gain: np.ndarray, shape: Shape, path: str) -> np.ndarray:
    """The gain `[T, ...]` of an input of `shape` as that of the output."""
    if isinstance(structure, Reshape):
        if gain.size == len(gain):
            return gain.reshape(len(gain), 1)
        whole = np.broadcast_to(aligned(gain, len(shape) + 1), (len(gain), *shape))
        return whole.reshape(len(gain), *structure.shape)
    if gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(f"the pool or sum {path} is of what has another scale at each place.")
    if isinstance(structure, Sum) and len(shape) - 1 in structure.axes:
        if np.ptp(gain, axis=-1).any():
            raise NotFoldable(f"the sum {path} is over channels of different scales.")
        return gain.reshape(len(gain), -1)[:, :1]
    return gain.reshape(len(gain), gain.shape[-1])


def gains_as_kernel(synapse: Synapse, channels: int) -> np.ndarray:
    """What a synapse without weights does to its channels, `[T, C, C]`."""
    gain = np.broadcast_to(synapse.gain, (len(synapse.gain), channels))
    if synapse.mixing is not None:
        return np.swapaxes(synapse.mixing, 1, 2) * gain[:, None, :]
    return gain[:, :, None] * np.eye(channels)


def varies(gain: np.ndarray, axes: Shape) -> bool:
    """Whether a gain `[T, ...]` of a shape differs along some of its axes."""
    return gain.ndim > 2 and any(np.ptp(gain, axis=axis + 1).any() for axis in axes)


def scaled_weight(weight: Weight, gain: np.ndarray) -> Weight:
    """Weights whose outputs are scaled by a gain per channel."""
    if gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable("weights are scaled differently from place to place.")
    gain = gain.reshape(len(gain), gain.shape[-1])
    return replace(weight, kernel=weight.kernel * aligned(gain, weight.kernel.ndim))


def folded(layer: ModelLayer, kernel: np.ndarray, synapse: Synapse, shape: Shape) -> Weight:
    """The weights of `layer` on inputs of `shape`, with gain and mixing of `synapse` in them."""
    module = layer.module
    if kernel.ndim == 2:
        return Dense(_on_inputs(kernel[None], synapse))
    if module.mask is not None:
        raise NotFoldable(
            f"{layer.path} has a mask, for which there is no rule; put it in the kernel."
        )
    for name in ("kernel_dilation", "input_dilation"):
        if any(n != 1 for n in np.atleast_1d(getattr(module, name))):
            raise NotFoldable(f"{layer.path} has {name}, for which there is no rule.")
    size = len(module.kernel_size)
    strides = module.strides
    strides = (strides,) * size if isinstance(strides, int) else tuple(strides or (1,) * size)
    padding = module.padding
    if padding in ("SAME", "VALID"):
        padding = jax.lax.padtype_to_pads(shape[:-1], kernel.shape[:size], strides, padding)
    if isinstance(padding, str):
        raise NotFoldable(f"{layer.path} has padding {padding!r}, for which there is no rule.")
    padding = padding if not isinstance(padding, int) else (padding,) * size
    padding = tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)
    groups, kernel = module.feature_group_count, kernel[None]
    if synapse.mixing is not None:  # Every output then reads every input.
        groups, kernel = 1, _ungrouped(kernel, groups)
    return Conv(_on_inputs(kernel, synapse, groups), strides, padding, groups)


def _ungrouped(kernel: np.ndarray, groups: int) -> np.ndarray:
    """The kernel of a convolution in groups as that of one without, zeros between the groups."""
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    whole = np.zeros((*kernel.shape[:-2], groups * inputs, groups * outputs))
    for g in range(groups):
        out = slice(g * outputs, (g + 1) * outputs)
        whole[..., g * inputs : (g + 1) * inputs, out] = kernel[..., out]
    return whole


def _on_inputs(kernel: np.ndarray, synapse: Synapse, groups: int = 1) -> np.ndarray:
    """`kernel` `[1, ..., C_in, C_out]` times a gain `[T, ...]` of its inputs."""
    inputs, gain = kernel.shape[-2], synapse.gain
    if kernel.ndim == 3:
        gain = gain.reshape(len(gain), -1)
    elif gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(f"{synapse.path} feeds a convolution with another scale at each place.")
    gain = gain.reshape(len(gain), -1)
    if groups > 1 and gain.shape[-1] > 1:
        # Each output of a group reads its own inputs: [T, groups, C_in] beside [.., groups, C_out].
        gain = gain.reshape(len(gain), groups, inputs)
        parts = kernel.reshape(*kernel.shape[:-1], groups, -1)
        gain = np.swapaxes(gain, 1, 2)[:, None, None, :, :, None]
        kernel = (parts * gain).reshape(len(gain), *kernel.shape[1:])
    else:
        kernel = kernel * gain.reshape(len(gain), *(1,) * (kernel.ndim - 3), gain.shape[-1], 1)
    if synapse.mixing is None:
        return kernel
    channels = synapse.mixing.shape[-1]
    places = kernel.reshape(*kernel.shape[:-2], -1, channels, kernel.shape[-1])
    mixed = np.einsum("t...co,tci->t...io", *steps_alike(places, synapse.mixing))
    return mixed.reshape(len(mixed), *kernel.shape[1:])
