"""Set the scales of a network to the steps of least squared error on a batch, layer by layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict, freeze
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pit_jax.analysis.levels import check_finite, take_membranes
from pit_jax.analysis.recorder import LayerRecording, recorder
from pit_jax.checks.levels import find_best_step, select_positive
from pit_jax.inference.runtime.batches import jit_for_batches
from pit_jax.initializers import SCALE_FLOOR

Path = tuple[str, ...]
# The membranes from which the scale of a channel and step is computed: drawn if there are more.
MOST_MEMBRANES = 2**14
# How often a scale that all steps share is fitted, and the relative change that ends it.
MOST_PASSES, SETTLED = 5, 1e-3


@dataclass(frozen=True)
class CalibrationReport:
    """The effect of `calibrate` on its batch; printable.

    `before` and `after` are the squared rounding error of every layer that rounds, |s - u|² / |u|²
    over the positive membranes of all steps; those of later layers include the effect of earlier
    ones. The accuracies are shares, None without labels. `calibrated` are the layers with new
    scales.
    """

    before: dict[str, float]
    after: dict[str, float]
    accuracy_before: float | None
    accuracy_after: float | None
    calibrated: tuple[str, ...]

    def __str__(self) -> str:
        """Return a table of the errors, and a line with the accuracies."""
        width = max(map(len, self.before))
        lines = [f"{'layer':<{width}}  error before   after"]
        lines += [
            f"{name:<{width}}  {error:12.4f} {self.after[name]:7.4f}"
            for name, error in self.before.items()
        ]
        if self.accuracy_before is not None and self.accuracy_after is not None:
            lines.append(f"accuracy {self.accuracy_before:.2%} -> {self.accuracy_after:.2%}")
        return "\n".join(lines)


def calibrate(
    model: nn.Module,
    variables: Mapping[str, Any],
    batch: Any,
    labels: ArrayLike | None = None,
) -> tuple[Mapping[str, Any], CalibrationReport]:
    """Return the variables with calibrated scales, and a report of the effect on the batch.

    Every scale of PIT, QAT and QBLIF becomes the step of least squared error on the membranes of
    its channel and step, in evaluation mode, but at least 1e-3, the floor of all scales; a channel
    without positive membranes keeps its scale. Later layers and steps see the new scales of earlier
    ones; a layer that the network calls twice follows its first call. Weights and statistics do
    not change. The network may be trained or imported.

    Args:
        model: a network whose neurons have scales.
        variables: its variables; they are not changed, and the result has their type.
        batch: images `[B, H, W, C]` or frames `[B, T, H, W, C]`, as the network takes them, or a
            pair of these and their labels. One forward pass is run for each layer and step.
        labels: the classes `[B]` of the batch, for the accuracies of the report.

    Raises ValueError for a network without such a scale, for PITFull, which mixes the channels
    before it rounds, for membranes or scales that are not finite, and for labels of another number
    than the images.
    """
    if isinstance(batch, tuple | list):
        batch, labels = batch
    if labels is not None and np.shape(labels) != (len(batch),):
        raise ValueError(
            f"labels must have the shape {(len(batch),)} of the batch, got {np.shape(labels)}."
        )
    record = recorder(model)
    first = record(variables, batch)
    for name, recording in first.items():
        check_finite(name, recording)
    leaves, found = _list_scales(first, variables)

    def look(layer: str) -> LayerRecording:
        return record(unflatten_dict(leaves), batch)[layer]

    for layer, path in found.items():
        see = partial(look, layer)
        if leaves[path].ndim == 2 and len(leaves[path]) > 1:
            # In their order: each changes the membranes of later ones.
            for row in range(len(leaves[path])):
                new = _fit(see(), leaves[path][row], slice(row, row + 1))
                leaves[path] = leaves[path].at[row].set(new)
        else:
            _fit_all_steps(see, leaves, path)
    current = unflatten_dict(leaves)
    report = CalibrationReport(
        before=_measure_errors(first),
        after=_measure_errors(record(current, batch)),
        accuracy_before=_measure_accuracy(model, variables, batch, labels),
        accuracy_after=_measure_accuracy(model, current, batch, labels),
        calibrated=tuple(found),
    )
    return (freeze(current) if isinstance(variables, FrozenDict) else current), report


def _fit_all_steps(
    see: Callable[[], LayerRecording], leaves: dict[Path, Array], path: Path
) -> None:
    """Fit a scale that all steps share, `[C]`, `[1]` or `[1, C]`."""
    # After a reset the membranes depend on the scale that is fitted to them, so the fit is repeated
    # and the scale of least error is kept.
    tried: list[tuple[float, Array]] = []
    for _ in range(MOST_PASSES):
        layer, old = see(), leaves[path]
        new = _fit(layer, old.reshape(-1), slice(None)).reshape(old.shape)
        if layer.membrane.shape[1] == 1:
            leaves[path] = new
            return
        tried.append((_measure_error(layer), old))
        leaves[path] = new
        if jnp.all(jnp.abs(new - old) <= SETTLED * new):
            break
    leaves[path] = min(tried, key=lambda each: each[0])[1]


def _take_membranes(layer: LayerRecording, steps: slice) -> Float[np.ndarray, "N C"]:
    """Return membranes of every channel at some steps, at most `MOST_MEMBRANES` of each."""
    assert layer.rounded is not None and layer.scale is not None
    rounded = jnp.moveaxis(layer.rounded[:, steps], 1, 0)
    scale = jnp.broadcast_to(layer.scale, (layer.rounded.shape[1], rounded.shape[-1]))[steps]
    u = rounded * scale.reshape(len(scale), *(1,) * (rounded.ndim - 2), -1)
    flat = u.reshape(-1, u.shape[-1])
    if len(flat) > MOST_MEMBRANES:
        index = np.random.default_rng(0).integers(len(flat), size=MOST_MEMBRANES)
        flat = flat[np.sort(index)]
    return np.asarray(flat, np.float64)


def _fit(layer: LayerRecording, old: Float[Array, " C"], steps: slice) -> Float[Array, " C"]:
    """Return the best step of each channel at some steps, `old` where no membrane is positive."""
    u = _take_membranes(layer, steps)
    # A single scale is fitted to the membranes of all channels.
    channels = u.reshape(-1, 1) if len(old) == 1 else u
    best = np.array([find_best_step(each, levels=layer.levels) for each in channels.T])
    return jnp.where(np.isnan(best), old, np.maximum(best, SCALE_FLOOR)).astype(old.dtype)


def _measure_errors(layers: Mapping[str, LayerRecording]) -> dict[str, float]:
    """Return |s - u|² / |u|² over the positive membranes of every layer that rounds."""
    return {
        name: _measure_error(layer) for name, layer in layers.items() if layer.rounded is not None
    }


def _measure_error(layer: LayerRecording) -> float:
    u, s = select_positive(*take_membranes(layer))
    return float(np.sum((s - u) ** 2) / np.sum(u**2)) if u.size else 0.0


def _measure_accuracy(
    model: nn.Module,
    variables: Mapping[str, Any],
    batch: Float[Array, "B ..."],
    labels: ArrayLike | None,
) -> float | None:
    """Return the share of the batch whose class has the largest mean logit over the steps."""
    if labels is None:
        return None
    logits = jit_for_batches(lambda variables, x: model.apply(variables, x))(variables, batch)
    return float(np.mean(np.argmax(logits.mean(1), -1) == np.asarray(labels)))


def _to_dict(tree: Any) -> Any:
    """Return a copy of nested mappings as dicts."""
    if isinstance(tree, Mapping):
        return {key: _to_dict(value) for key, value in tree.items()}
    return tree


def _list_scales(
    layers: Mapping[str, LayerRecording], variables: Mapping[str, Any]
) -> tuple[dict[Path, Array], dict[str, Path]]:
    """Return all leaves, and the path of the scale of each layer that divides by one, in order."""
    leaves, found = flatten_dict(_to_dict(variables)), {}
    for name, layer in layers.items():
        # The path of a neuron without a network around it is empty.
        at = ("params", *filter(None, name.split("/")))
        if layer.rounded is None or layer.scale is None:
            continue
        if (*at, "mixing") in leaves:
            raise ValueError(
                f"{name} is a PITFull, which rounds mixtures of channels; calibrate takes PIT, QAT "
                "and QBLIF."
            )
        if (*at, "alpha") in leaves:
            # The released parametrization: the scale is alpha p. With p = 1 it is alpha.
            leaves[*at, "alpha"] = jnp.asarray(layer.scale, leaves[*at, "alpha"].dtype)
            leaves[*at, "p"] = jnp.ones_like(leaves[*at, "p"])
            found[name] = (*at, "alpha")
        elif (*at, "a") in leaves:
            found[name] = (*at, "a")
    if not found:
        raise ValueError(
            "no neuron of this network has a scale; calibrate takes PIT, QAT and QBLIF."
        )
    return leaves, found
