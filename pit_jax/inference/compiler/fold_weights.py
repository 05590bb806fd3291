"""Merge into weights: batch norms after them, and gains and mixings of the spikes they read."""

from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.trace import NORMS, ModelLayer
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime.reductions import Reshape, Shape, Structure, Sum
from pit_jax.layers.norm import EPSILON, TEBN, TDBatchNorm
from pit_jax.old_names import serve_old_names


def fold_norm(layer: ModelLayer) -> tuple[np.ndarray, np.ndarray] | None:
    """Return gain and bias, `[1 or T, C]`, of a norm in evaluation mode; None for another layer.

    With its running statistics the norm is affine:
    (x - mean) / sqrt(var + epsilon) scale + bias = gain x + bias'. Raises NotFoldable for a norm
    over another axis than the last.
    """
    norm = layer.module
    if not isinstance(norm, NORMS):
        return None
    if isinstance(norm, nn.BatchNorm) and norm.axis != -1:
        raise NotFoldable(
            f"{layer.path} normalizes axis {norm.axis}; only axis -1 has a rule.",
            "Keep channels last.",
        )
    statistics: dict[str, Any] = layer.variables["batch_stats"]
    params: dict[str, Any] = layer.variables.get("params", {})
    mean, var = (np.asarray(statistics[name], np.float64) for name in ("mean", "var"))
    epsilon = norm.epsilon if isinstance(norm, nn.BatchNorm) else EPSILON
    gain = 1 / np.sqrt(var + epsilon)
    if isinstance(norm, TDBatchNorm):
        gain = gain * norm.alpha * norm.threshold
    gain = gain * np.asarray(params.get("scale", 1.0), np.float64)
    bias = np.asarray(params.get("bias", 0.0), np.float64) - mean * gain
    # TEBN multiplies the whole output by a learned p at each step.
    factor = np.asarray(params["p"], np.float64)[:, None] if isinstance(norm, TEBN) else 1.0
    return np.atleast_2d(gain * factor), np.atleast_2d(bias * factor)


def broadcast_steps(*arrays: np.ndarray) -> list[np.ndarray]:
    """Broadcast arrays `[1 or T, ...]` to all steps."""
    steps = max(map(len, arrays))
    return [np.broadcast_to(a, (steps, *a.shape[1:])) for a in arrays]


def align(a: np.ndarray, ndim: int) -> np.ndarray:
    """Insert axes of size 1 after time, so that `[T, ...]` has `ndim` axes."""
    return a.reshape(len(a), *(1,) * (ndim - a.ndim), *a.shape[1:])


def multiply_gains(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the product of two gains; one of them may be the same at every position."""
    ndim = max(a.ndim, b.ndim)
    return align(a, ndim) * align(b, ndim)


def add_biases(a: folded.Value, b: folded.Value) -> np.ndarray:
    """Return the sum of two biases."""
    ndim = max(a.bias.ndim, b.bias.ndim)
    return align(a.bias, ndim) + align(b.bias, ndim)


def reduce_gain(structure: Structure, gain: np.ndarray, shape: Shape, path: str) -> np.ndarray:
    """Return the gain of the outputs of `structure`, given the gain `[T, ...]` of its inputs.

    `shape` is the shape of the inputs. A gain commutes with a pool or sum if all terms of a sum
    share it: sum_i g x_i = g sum_i x_i. Raises NotFoldable if they do not.
    """
    if isinstance(structure, Reshape):
        if gain.size == len(gain):
            return gain.reshape(len(gain), 1)
        whole = np.broadcast_to(align(gain, len(shape) + 1), (len(gain), *shape))
        return whole.reshape(len(gain), *structure.shape)
    if gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(
            f"the pool or sum {path} reads different scales at different positions.",
            "Give all positions of a channel one scale.",
        )
    if isinstance(structure, Sum) and len(shape) - 1 in structure.axes:
        if np.ptp(gain, axis=-1).any():
            raise NotFoldable(
                f"the sum {path} adds channels with different scales.",
                "Put a linear layer in place of the sum, or give its channels one scale.",
            )
        return gain.reshape(len(gain), -1)[:, :1]
    return gain.reshape(len(gain), gain.shape[-1])


def make_kernel(synapse: folded.Synapse, channels: int) -> np.ndarray:
    """Return the gain and mixing of a synapse without weights as a kernel `[T, C, C]`."""
    gain = np.broadcast_to(synapse.gain, (len(synapse.gain), channels))
    if synapse.mixing is not None:
        return np.swapaxes(synapse.mixing, 1, 2) * gain[:, None, :]
    return gain[:, :, None] * np.eye(channels)


def varies(gain: np.ndarray, axes: Shape) -> bool:
    """Return whether a gain `[T, *shape]` differs along one of `axes` of the shape."""
    return gain.ndim > 2 and any(np.ptp(gain, axis=axis + 1).any() for axis in axes)


def scale_weight(weight: folded.Weight, gain: np.ndarray) -> folded.Weight:
    """Return weights whose outputs are multiplied by a gain per channel."""
    if gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(
            "the outputs of weights are scaled differently at different positions.",
            "Scale each channel by one number.",
        )
    gain = gain.reshape(len(gain), gain.shape[-1])
    return replace(weight, kernel=weight.kernel * align(gain, weight.kernel.ndim))


def fold_weight(
    layer: ModelLayer, kernel: np.ndarray, synapse: folded.Synapse, shape: Shape
) -> folded.Weight:
    """Return the weights of `layer` with the gain and mixing of its input `synapse` merged in.

    `shape` is the shape of the inputs.
    """
    if kernel.ndim == 2:
        return folded.Dense(_scale_inputs(kernel[None], synapse))
    strides, padding = _read_window(layer, kernel, shape)
    groups, kernel = layer.module.feature_group_count, kernel[None]
    if synapse.mixing is not None:  # Mixed channels: every output reads every input.
        groups, kernel = 1, _ungroup(kernel, groups)
    return folded.Conv(_scale_inputs(kernel, synapse, groups), strides, padding, groups)


def _read_window(
    layer: ModelLayer, kernel: np.ndarray, shape: Shape
) -> tuple[Shape, tuple[tuple[int, int], ...]]:
    """Return strides and padding of a convolution; raises NotFoldable for unsupported options."""
    module = layer.module
    if len(shape) != 3 or kernel.ndim != 4:
        raise NotFoldable(
            f"{layer.path} is a convolution over {kernel.ndim - 2} axes, for which there is no "
            "rule.",
            "Use one over H and W; an axis of size 1 can be added with a reshape to [B, T, 1, L, "
            "C].",
        )
    if module.mask is not None:
        raise NotFoldable(
            f"{layer.path} has a mask, for which there is no rule.", "Put it in the kernel."
        )
    for name in ("kernel_dilation", "input_dilation"):
        if any(n != 1 for n in np.atleast_1d(getattr(module, name))):
            raise NotFoldable(
                f"{layer.path} has {name}, for which there is no rule.",
                "Use a convolution without dilation; zeros in a larger kernel are the same.",
            )
    size = len(module.kernel_size)
    strides = module.strides
    strides = (strides,) * size if isinstance(strides, int) else tuple(strides or (1,) * size)
    padding = module.padding
    if padding in ("SAME", "VALID"):
        padding = jax.lax.padtype_to_pads(shape[:-1], kernel.shape[:size], strides, padding)
    if isinstance(padding, str):
        raise NotFoldable(
            f"{layer.path} has padding {padding!r}, for which there is no rule.",
            "Use SAME, VALID or numbers.",
        )
    padding = padding if not isinstance(padding, int) else (padding,) * size
    return strides, tuple((p, p) if isinstance(p, int) else tuple(p) for p in padding)


def _ungroup(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Return the kernel of a grouped convolution as one of a single group, zero between groups."""
    inputs, outputs = kernel.shape[-2], kernel.shape[-1] // groups
    whole = np.zeros((*kernel.shape[:-2], groups * inputs, groups * outputs))
    for g in range(groups):
        out = slice(g * outputs, (g + 1) * outputs)
        whole[..., g * inputs : (g + 1) * inputs, out] = kernel[..., out]
    return whole


def _scale_inputs(kernel: np.ndarray, synapse: folded.Synapse, groups: int = 1) -> np.ndarray:
    """Return `kernel` `[1, ..., C_in, C_out]` times the gain and mixing of its inputs.

    W (g s) = (W diag(g)) s, and W (M s) = (W M) s for a mixing M.
    """
    inputs, gain = kernel.shape[-2], synapse.gain
    if kernel.ndim == 3:
        # A linear layer may read a flattened image: one gain for each place and channel.
        gain = gain.reshape(len(gain), -1)
    elif gain.ndim > 2 and any(n > 1 for n in gain.shape[1:-1]):
        raise NotFoldable(
            f"{synapse.path} feeds a convolution with different scales at different positions.",
            "Give all positions of a channel one scale.",
        )
    gain = gain.reshape(len(gain), -1)
    if groups > 1 and gain.shape[-1] > 1:
        # An output reads the inputs of its own group: the kernel is [C_in / groups, C_out], and
        # output o needs the gains of group o // (C_out / groups).
        gain = gain.reshape(len(gain), groups, inputs)
        parts = kernel.reshape(*kernel.shape[:-1], groups, -1)
        gain = np.swapaxes(gain, 1, 2)[:, None, None, :, :, None]
        kernel = (parts * gain).reshape(len(gain), *kernel.shape[1:])
    else:
        kernel = kernel * gain.reshape(len(gain), *(1,) * (kernel.ndim - 3), gain.shape[-1], 1)
    if synapse.mixing is None:
        return kernel
    # (W M)[o, i] = sum_c W[o, c] M[c, i], separately at each position of a flattened image.
    channels = synapse.mixing.shape[-1]
    places = kernel.reshape(*kernel.shape[:-2], -1, channels, kernel.shape[-1])
    mixed = np.einsum("t...co,tci->t...io", *broadcast_steps(places, synapse.mixing))
    return mixed.reshape(len(mixed), *kernel.shape[1:])


serve_old_names(__name__)
