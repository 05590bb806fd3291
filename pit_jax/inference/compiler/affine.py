"""Norms in evaluation: a gain and a bias for each channel."""

from typing import Any

import flax.linen as nn
import numpy as np

from pit_jax.inference.compiler.trace import (
    NORMS,
    ModelLayer,
)
from pit_jax.inference.errors import NotFoldable
from pit_jax.layers.norm import EPSILON, TEBN, TDBatchNorm


def affine(layer: ModelLayer) -> tuple[np.ndarray, np.ndarray] | None:
    """gain and bias, `[1 or T, C]`, of a norm that uses its running statistics; None for others.

    Raises NotFoldable for one over another axis than the last."""
    norm = layer.module
    if not isinstance(norm, NORMS):
        return None
    if isinstance(norm, nn.BatchNorm) and norm.axis != -1:
        raise NotFoldable(f"{layer.path} norms axis {norm.axis}; there is a rule for axis -1 only.")
    statistics: dict[str, Any] = layer.variables["batch_stats"]
    params: dict[str, Any] = layer.variables.get("params", {})
    mean, var = (np.asarray(statistics[name], np.float64) for name in ("mean", "var"))
    epsilon = norm.epsilon if isinstance(norm, nn.BatchNorm) else EPSILON
    gain = 1 / np.sqrt(var + epsilon)
    if isinstance(norm, TDBatchNorm):
        gain = gain * norm.alpha * norm.threshold
    gain = gain * np.asarray(params.get("scale", 1.0), np.float64)
    bias = np.asarray(params.get("bias", 0.0), np.float64) - mean * gain
    factor = np.asarray(params["p"], np.float64)[:, None] if isinstance(norm, TEBN) else 1.0
    return np.atleast_2d(gain * factor), np.atleast_2d(bias * factor)
