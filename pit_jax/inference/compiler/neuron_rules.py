"""The rule of each neuron at inference in real numbers; `quantize_neuron` puts it on a grid.

A neuron adds its current I to the rest v of its membrane, fires a count and resets:

    u  = v + I
    k  = clip(floor((u - first) / step) + 1, 0, levels)     the number of thresholds reached
    v' = leak (u - drop k), with leak_fired instead of leak where k is not 0.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from pit_jax.inference.compiler.trace import ModelLayer
from pit_jax.inference.errors import NotFoldable
from pit_jax.initializers import SCALE_FLOOR
from pit_jax.neurons import (
    CLIF,
    GLIF,
    IF,
    ILIF,
    LIF,
    PIT,
    PLIF,
    QAT,
    QBLIF,
    PITFull,
    RealSpike,
    Ternary,
    TrainableTernary,
)
from pit_jax.neurons.mpbn import NormedLIF, fold_threshold
from pit_jax.neurons.scale import per_channel, released
from pit_jax.neurons.step import clearing_reset, hard_reset, soft_reset
from pit_jax.old_names import serve_old_names


def _row(value: Any) -> np.ndarray:
    """Return a number, `[C]` or `[T, C]` as an array `[1, 1]`, `[1, C]` or `[T, C]`."""
    return np.atleast_2d(np.asarray(value, np.float64))


@dataclass(frozen=True)
class FiringRule:
    """The rule of one layer; every array is `[1 or T, 1 or C]`.

    The current I is the layer's input times `current_gain` plus `current_bias`; the layer sends its
    count times `gain`. With `signed` the count is -1 where u <= -first. With `tau` the rule is
    CLIF's, which adds the sigmoid of a second potential to `drop`. With `mixing` `[T, C, C]`
    (PITFull) the rule holds for mixing⁻¹ u, and the layer sends mixing k instead of gain k.
    """

    first: np.ndarray
    step: np.ndarray
    levels: int
    drop: np.ndarray
    leak: np.ndarray
    leak_fired: np.ndarray
    gain: np.ndarray = field(default_factory=lambda: _row(1))
    current_gain: np.ndarray = field(default_factory=lambda: _row(1))
    current_bias: np.ndarray = field(default_factory=lambda: _row(0))
    signed: bool = False
    tau: float | None = None
    mixing: np.ndarray | None = None


def find_rule(layer: ModelLayer) -> FiringRule:
    """Return the rule of a neuron layer; raises NotFoldable for one that sends no spikes."""
    make = _RULES.get(type(layer.module))
    if make is None:
        raise NotFoldable(
            f"{layer.path} is a {type(layer.module).__name__}, which sends no spikes.",
            f"Use one of {', '.join(list_neurons())}.",
        )
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), layer.variables.get("params", {}))
    return make(layer, params)


def list_neurons() -> list[str]:
    """Return the names of the neurons that can be compiled."""
    return [kind.__name__ for kind in _RULES]


Params = dict[str, Any]


def _is_soft(reset: Callable[..., Any]) -> bool:
    if reset not in (soft_reset, hard_reset, clearing_reset):
        raise NotFoldable(
            f"the reset {reset} has no rule.",
            "Use soft_reset, hard_reset or clearing_reset of pit_jax.neurons.step.",
        )
    return reset is soft_reset


def _binary(
    reset: Callable[..., Any],
    threshold: Any,
    decay: Any,
    *,
    decay_input: bool = False,
    gain: Any = 1.0,
) -> FiringRule:
    threshold, decay = _row(threshold), _row(decay)
    soft = _is_soft(reset)
    # A hard reset sets v' = 0 where the neuron fired: drop 0 and leak_fired 0.
    return FiringRule(
        first=threshold,
        step=np.ones_like(threshold),
        levels=1,
        drop=threshold if soft else _row(0),
        leak=decay,
        leak_fired=decay if soft else _row(0),
        current_gain=1 - decay if decay_input else _row(1),
        gain=_row(gain),
    )


def _lif(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, LIF)
    return _binary(m.reset, m.threshold, m.decay, decay_input=m.decay_input)


def _if(layer: ModelLayer, params: Params) -> FiringRule:
    assert isinstance(layer.module, IF)
    # IF does not leak: v' = u - threshold k.
    return _binary(layer.module.reset, layer.module.threshold, 1.0)


def _plif(layer: ModelLayer, params: Params) -> FiringRule:
    assert isinstance(layer.module, PLIF)
    # 1 / tau = sigmoid(w): u = (1 - 1 / tau) v + I / tau.
    decay = 1 - _sigmoid(params["w"])
    return _binary(layer.module.reset, layer.module.threshold, decay, decay_input=True)


def _real_spike(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, RealSpike)
    return _binary(m.reset, m.threshold, 1.0, gain=params["amplitude"])


def _mpbn(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, NormedLIF)
    # The norm acts on the membrane only to compare it: norm(u) >= threshold is u >= threshold'.
    try:
        threshold = fold_threshold(m, params, layer.variables["batch_stats"])
    except ValueError as error:
        raise NotFoldable(
            f"{layer.path}: {error}", "Train on, or start from a scale above 0."
        ) from error
    return _binary(hard_reset, np.asarray(threshold, np.float64), m.decay)


def _clif(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, CLIF)
    # v' = (1 - 1 / tau) (u - k (threshold + sigmoid(m'))); the sigmoid is added at run time.
    decay = _row(1 - 1 / m.tau)
    return FiringRule(
        first=_row(m.threshold),
        step=_row(1),
        levels=1,
        drop=_row(m.threshold),
        leak=decay,
        leak_fired=decay,
        tau=m.tau,
    )


def _glif(layer: ModelLayer, params: Params) -> FiringRule:
    p = {name: _row(_sigmoid(value)) for name, value in params.items()}
    leak = 1 - p["leak_gate"] * (1 - p["decay_logit"])
    # The published form subtracts the reset after the leak, leak_fired u - r k. Here it is before:
    # leak_fired (u - drop k) with drop = r / leak_fired.
    leak_fired = leak * (1 - p["reset_gate"])
    return FiringRule(
        first=p["threshold_logit"],
        step=_row(1),
        levels=1,
        drop=(1 - p["reset_gate"]) * p["reset_logit"] / leak_fired,
        leak=leak,
        leak_fired=leak_fired,
        current_gain=1 - p["input_gate"] * (1 - p["conductance_logit"]),
        current_bias=-(1 - p["leak_gate"]) * p["leak_logit"],
    )


def _integer(
    a: Any, levels: int, decay: Any, *, soft: bool = True, decay_input: bool = False, gain: Any
) -> FiringRule:
    a, decay = _row(a), _row(decay)
    # round(u / a) reaches level d at u = a (d - 1/2): the first threshold is a / 2, not a.
    return FiringRule(
        first=a / 2,
        step=a,
        levels=levels,
        drop=a if soft else _row(0),
        leak=decay,
        leak_fired=decay if soft else _row(0),
        current_gain=1 - decay if decay_input else _row(1),
        gain=_row(gain),
    )


def _ilif(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, ILIF)
    gain = 1 / m.levels if m.normalize else 1.0
    return _integer(1.0, m.levels, m.decay, decay_input=m.decay_input, gain=gain)


def _pit(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, PIT)
    a = _scale(layer, params)
    soft = _is_soft(m.reset)
    return _integer(a, m.levels, m.decay, soft=soft, decay_input=m.decay_input, gain=a)


def _qat(layer: ModelLayer, params: Params) -> FiringRule:
    assert isinstance(layer.module, QAT)
    a = _scale(layer, params)
    return _integer(a, layer.module.levels, 0.0, gain=a)


def _qb_lif(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, QBLIF)
    a = _scale(layer, params)
    return _integer(a, m.levels, m.decay, decay_input=m.decay_input, gain=a)


def _scale(layer: ModelLayer, params: Params) -> np.ndarray:
    if "a" in params:
        return np.maximum(params["a"], SCALE_FLOOR)
    if "alpha" in params:
        return np.maximum(params["alpha"] * params["p"], SCALE_FLOOR)
    raise NotFoldable(
        f"{layer.path} has the parameters {', '.join(flatten_dict(params, sep='/'))}, an unknown "
        "form of a scale.",
        f"Use {per_channel.__name__} or {released.__name__} of pit_jax.neurons.scale.",
    )


def _pit_full(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, PITFull)
    mixing = params["mixing"]
    # Appendix F: A = L diag(a) U with unit triangular L and U, so A is invertible while a > 0.
    one = np.eye(mixing.shape[-1])
    lower, upper = one + np.tril(mixing, -1), one + np.triu(mixing, 1)
    a = np.maximum(params["a"], SCALE_FLOOR)
    # In the coordinates A⁻¹ u the levels are the integers, whatever A is.
    rule = _integer(1.0, m.levels, m.decay, decay_input=m.decay_input, gain=1.0)
    return FiringRule(**{**vars(rule), "mixing": lower * a[:, None, :] @ upper})


def _ternary(layer: ModelLayer, params: Params) -> FiringRule:
    m = layer.module
    assert isinstance(m, Ternary | TrainableTernary)
    # Fires 1 for u >= threshold / 2 and -1 for u <= -threshold / 2.
    rule = _binary(hard_reset, m.threshold / 2, m.decay, gain=params.get("alpha", 1.0))
    return FiringRule(**{**vars(rule), "signed": True})


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


_RULES: dict[type, Callable[[ModelLayer, Params], FiringRule]] = {
    IF: _if,
    LIF: _lif,
    PLIF: _plif,
    CLIF: _clif,
    GLIF: _glif,
    ILIF: _ilif,
    PIT: _pit,
    PITFull: _pit_full,
    RealSpike: _real_spike,
    Ternary: _ternary,
    TrainableTernary: _ternary,
    QAT: _qat,
    QBLIF: _qb_lif,
    NormedLIF: _mpbn,
}


serve_old_names(__name__)
