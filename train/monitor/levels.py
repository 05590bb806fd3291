"""Warn before the first step if the levels of the neurons do not fit their membranes."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict
from scipy.special import ndtri

from pit_jax.checks.levels import error_ratio, find_best_step
from pit_jax.initializers import SCALE_FLOOR, SCALE_INITS
from pit_jax.neurons.probe import Rounding

from ..config.choose import normalize_section
from ..config.own import is_own

# Eq. 12 has 3.4, 4.5, 6.1 and 9.0 times the least error at 1, 2, 4 and 8 levels, the start of LSQ
# 1.2, 1.3, 1.7 and 2.5, the step 1 of I-LIF 1.1, 1.1, 2.7 and 8.0.
MOST = 3.0
# The starts that are tried for advice, in this order.
STARTS = ("lsq", "covering", "released")
# With this number of membranes in a layer and step, ratios are exact to 2 %.
MEMBRANES = 2**13
PAGE = "docs/guide/analyses.md, Levels"


def explain_rounding(found: Mapping[str, Rounding], config: ConfigDict) -> list[str]:
    """Return a warning if the rounding error of a layer is above `MOST` times the least one.

    `found` has the membranes of the first batch. The warning names the worst layer and a start with
    less error. The list is empty if all layers are below the limit.
    """
    layers: dict[str, Rounding] = jax.device_get(dict(found))
    ratios = {name: measure_ratios(each) for name, each in layers.items()}
    bad = {name: max(each) for name, each in ratios.items() if max(each) > MOST}
    if not bad:
        return []
    worst = max(bad, key=lambda name: bad[name])
    step = ratios[worst].index(bad[worst])
    where = f"{worst}, step {step + 1}" if len(ratios[worst]) > 1 else worst
    return [
        f"the levels of {len(bad)} of {len(ratios)} layers do not fit their membranes: the squared "
        f"rounding error of {where} is {bad[worst]:.1f} times the error of the best step (the "
        f"limit is {MOST:g}), for normal membranes with the mean and deviation of the first batch. "
        f"{_advise(layers[worst], step, config)} See {PAGE}."
    ]


def measure_ratios(layer: Rounding) -> list[float]:
    """Return the rounding error of each step of a layer, relative to the best step.

    The membranes are normal, with the mean and deviation of each channel: the ratio of the
    membranes themselves varies around `MOST` with the samples of the first batch. It is 0 where no
    membrane is positive.
    """
    a = np.broadcast_to(np.asarray(layer.scale, float), layer.mean.shape)
    return [
        _compare(draw_membranes(layer, step), a[step], int(layer.levels))
        for step in range(len(layer.mean))
    ]


def draw_membranes(layer: Rounding, step: int) -> Float[np.ndarray, "N C"]:
    """Return quantiles of the normal membranes of every channel, at one step."""
    mean, sd = (np.asarray(each[step], float) for each in (layer.mean, layer.sd))
    count = max(MEMBRANES // mean.size, 1)
    # Together the channels have the quantiles of a single one with all of these membranes.
    offset = (np.random.default_rng(0).permutation(mean.size) + 0.5) / mean.size
    return mean + sd * ndtri((np.arange(count)[:, None] + offset) / count)


def _compare(u: Float[np.ndarray, "N C"], a: Any, levels: int) -> float:
    """Return the rounding error of the scale `a` relative to the best step, 0 for NaN."""
    ratio = error_ratio(u, a * np.clip(np.floor(u / a + 0.5), 0, levels), levels=levels)
    return 0.0 if math.isnan(ratio) else ratio


def _advise(layer: Rounding, step: int, config: ConfigDict) -> str:
    """Return the start that would have less error on the membranes of one layer and step."""
    name, start = (normalize_section(config.neuron).get(key) for key in ("name", "scale_init"))
    levels, u = int(layer.levels), draw_membranes(layer, step)
    learned = "with a learned scale: --config.neuron.name=PIT --config.neuron.scale_init=lsq."
    if name == "ILIF" and config.get("pretrained"):  # Which sets the scales of the norms.
        return f"It would be less {learned}"
    if name == "ILIF":
        norm = normalize_section(normalize_section(config.get("model")).get("norm"))
        gain = (norm.get("gain") or 1.0) / find_best_step(u, levels=levels)
        return (
            f"It would be least with --config.model.norm.gain={gain:.2g}, in a network whose "
            f"neurons follow a norm, or {learned}"
        )
    # The scales of another run are not those of `scale_init`, unless they are initialized again.
    again = f" --config.reinitialize=\"('{name}',)\"" if config.get("pretrained") else ""
    for other in () if is_own(str(name)) else STARTS:
        a = np.asarray(SCALE_INITS[other](jnp.asarray(u, jnp.float32), levels=levels), float)
        ratio = _compare(u, np.maximum(a, SCALE_FLOOR), levels)
        if (again or other != start) and ratio <= MOST:
            return f"It would be {ratio:.1f} times with --config.neuron.scale_init={other}{again}."
    return "pit_jax.analysis.calibrate finds the best scales."
