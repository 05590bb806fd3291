"""Further measures of a finished run: numbers that pages compare, and lists that figures draw.

Numbers are measured for every seed. Long lists are only kept of seed 0, whose picture is drawn.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pit_jax.analysis.energy import report
from pit_jax.analysis.levels import measure_levels
from pit_jax.analysis.membrane import Density, densities
from pit_jax.analysis.rates import measure_firing
from pit_jax.inference import NotFoldable
from pit_jax.neurons.probe import neuron_layers

from ..analyze.__main__ import read_run
from ..analyze.landscape import measure_surface
from ..analyze.subject import Subject
from ..report.figures import order_layers
from ..run.reading import load_run_config, read_run_records, select_epochs
from ..run.restore import load_scales, select_scales

# Test samples of a measure, and points of a density.
SAMPLES, POINTS = 256, 64
# The seed whose lists are kept, and the digits of their numbers.
DRAWN, DIGITS = 0, 4
# Measures that only have lists.
LISTS = ("levels",)


def measure(workdir: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the measures of a finished run that `names` ask for: JSON values by key.

    A name may end in a number after a colon: landscape:21 has 21 points on a side. A measure that
    does not apply to the run, such as the energy of a network that cannot be compiled, adds no key.
    Raises UserError for data or a checkpoint that is missing or damaged, and KeyError for a name
    that is not in `MEASURES`.
    """
    config = load_run_config(workdir)
    subject = None
    found: dict[str, Any] = {}
    for name in names:
        key, _, argument = name.partition(":")
        if key == "learning":
            found |= measure_learning(workdir)
            continue
        if key in LISTS and config.seed != DRAWN:
            continue
        if subject is None:
            subject = read_run(workdir, workdir.name, config, "last", workdir / "measures")
        arguments = (int(argument),) if argument else ()
        found |= MEASURES[key](subject, *arguments)
    return found


def measure_learning(workdir: Path) -> dict[str, Any]:
    """Return the learning curves (Fig. 3), and the numbers that the paper compares."""
    epochs = select_epochs(read_run_records(workdir))
    keys = ("train_loss", "train_accuracy", "test_accuracy")
    curves = {key: [_round(record.get(key)) for record in epochs] for key in keys}
    found: dict[str, Any] = {f"{key}_curve": curve for key, curve in curves.items()}
    found["epochs"] = [record["epoch"] for record in epochs]
    if epochs and isinstance(first := epochs[0].get("test_accuracy"), float):
        found["first_epoch_accuracy"] = first
    if epochs:
        found["train_loss"] = epochs[-1]["train_loss"]
    return found


def measure_energy(subject: Subject) -> dict[str, Any]:
    """Return energy and operations of a test sample.

    `all_energy_uj` is of all operations that we count. The other numbers follow the rules of the
    paper's Tables 3 and 10; see docs/theory/energy.md.
    """
    try:
        found = report(subject.model, subject.variables, subject.batches("test", SAMPLES))
    except NotFoldable:
        return {}
    sums = found.conventions
    ace, rule = sums["paper_table3"], sums["paper_table10"]
    numbers = {
        "s_ace_g": (ace.s_ace, 1e9),
        "ns_ace_g": (ace.ns_ace, 1e9),
        "acs_m": (rule.accumulations, 1e6),
        "macs_m": (rule.macs, 1e6),
        "energy_uj": (rule.energy, 1e6),
        "all_energy_uj": (found.energy, 1e6),
    }
    return {key: float(value) / unit for key, (value, unit) in numbers.items() if value is not None}


def measure_membranes(subject: Subject) -> dict[str, Any]:
    """Return how much the membranes of the last layer change from step to step (Fig. 4).

    `membranes_apart` is the mean over steps of the total variation distance between the density of
    a step and the mean density of all steps.
    """
    layers = densities(subject.model, subject.variables, lambda: subject.batches("test", SAMPLES))
    if not layers:
        return {}
    last = list(layers.values())[-1]
    found: dict[str, Any] = {"membranes_apart": float(last.apart.mean())}
    if _is_drawn(subject):
        found["membranes"] = list_density(last)
    return found


def list_density(density: Density) -> dict[str, Any]:
    """Return a density at `POINTS` points of its range, as lists."""
    at = np.linspace(density.at[0], density.at[-1], POINTS)
    values = [np.interp(at, density.at, step) for step in density.density]
    return {
        "at": _round_list(at),
        "density": [_round_list(step) for step in values],
        "mean": _round_list(density.mean),
        "sd": _round_list(density.sd),
        "bandwidth": _round(density.bandwidth),
        "samples": density.samples,
    }


def measure_landscape(subject: Subject, side: int = 21) -> dict[str, Any]:
    """Return how much the loss rises around the weights (Fig. 5).

    `loss_rise` is the mean loss over the square minus the loss at the weights, at points where it
    is finite. It is missing if the loss at the weights is not finite.
    """
    surface = measure_surface(subject, side)
    finite = surface.losses[np.isfinite(surface.losses)]
    center = surface.losses[side // 2, side // 2]
    found: dict[str, Any] = {}
    if np.isfinite(center):
        found["loss_rise"] = float(finite.mean() - center)
    if _is_drawn(subject):
        found["landscape"] = [_round_list(row) for row in surface.losses]
        found["landscape_axis"] = _round_list(surface.axis)
    return found


def measure_rates(subject: Subject) -> dict[str, Any]:
    """Return the firing rate of every layer and step (Fig. 6).

    `rate_trend` is the rate of the last step minus that of the first, as means over the layers.
    """
    layers = measure_firing(subject.model, subject.variables, subject.batches("test", SAMPLES))
    if not layers:
        return {}
    rates = {name: each.per_sample.mean(axis=0) for name, each in layers.items()}
    trend = np.mean([rate[-1] - rate[0] for rate in rates.values()])
    return {
        "rate_trend": float(trend),
        "rate_samples": len(next(iter(layers.values())).per_sample),
        "rates": {name: _round_list(rate) for name, rate in rates.items()},
    }


def measure_scales(subject: Subject) -> dict[str, Any]:
    """Return how far PIT's scales differ between the layers (Fig. 7).

    `scale_spread` is the standard deviation over layers of the logarithm (base 2) of the median
    scale, in doublings; `scale_spread_start` is that before training.
    """
    now = select_scales(subject.variables["params"])
    if not now:
        return {}
    x, _ = subject.samples("test", subject.over_batch.mesh.size)
    order = neuron_layers(subject.model, subject.variables, x)
    layers = {
        "scale": order_layers(now, order),
        "scale_start": order_layers(load_scales(subject.workdir, "first"), order),
    }
    found: dict[str, Any] = {}
    for key, by_layer in layers.items():
        if by_layer:
            medians = [np.median(np.log2(a)) for a in by_layer.values()]
            found[key.replace("scale", "scale_spread")] = float(np.std(medians))
        if _is_drawn(subject):
            found[f"{key}s"] = {name: _round_list(a.ravel()) for name, a in by_layer.items()}
    return found


def measure_level_use(subject: Subject) -> dict[str, Any]:
    """Return the share of each integer that neurons send, and how well the levels fit.

    All are means over layers and steps. `rounding_error` is the squared error relative to the best
    single step; None for neurons that do not round.
    """
    layers = measure_levels(subject.model, subject.variables, subject.batches("test", SAMPLES))
    if not layers:
        return {}
    used = list(layers.values())
    integers = sorted({int(k) for each in used for k in each.integers})
    shares = [dict(zip(each.integers, each.shares.mean(0), strict=True)) for each in used]
    ratios = np.concatenate([each.error_ratio for each in used])
    finite = ratios[np.isfinite(ratios)]
    return {
        "levels": {
            "integers": integers,
            "shares": [_round(np.mean([share.get(k, 0.0) for share in shares])) for k in integers],
            "effective": _round(np.mean([each.effective.mean() for each in used])),
            "rounding_error": _round(finite.mean()) if finite.size else None,
            "samples": used[0].samples,
        }
    }


MEASURES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "energy": measure_energy,
    "membranes": measure_membranes,
    "landscape": measure_landscape,
    "rates": measure_rates,
    "scales": measure_scales,
    "levels": measure_level_use,
}


def _is_drawn(subject: Subject) -> bool:
    return bool(subject.config.seed == DRAWN)


def _round(value: Any) -> float | None:
    """Return a number with `DIGITS` significant digits, enough for a picture.

    None for a number that is missing or not finite, which JSON does not have.
    """
    return None if value is None or not np.isfinite(value) else float(f"{value:.{DIGITS}g}")


def _round_list(values: Iterable[Any]) -> list[float | None]:
    return [_round(value) for value in values]
