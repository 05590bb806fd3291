"""The I-LIF twin of a PIT network at one step: its scales move into the layers around each neuron.

A value between two layers may be measured in any unit, one for each channel, if the layer before it
divides by the unit and the layer after it multiplies: the same network, written differently. In the
unit `a` the membranes of a PIT neuron are u / a and its spikes are integers, so it is I-LIF. The
values that a sum adds share one unit. The twin therefore exists if no two neurons with different
scales meet in a sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from pit_jax.inference.compiler.operations import Operation, describe_place
from pit_jax.inference.compiler.trace import (
    NORMS,
    Outline,
    count_uses,
    make_apply,
    outline_layers,
)
from pit_jax.initializers import SCALE_FLOOR
from pit_jax.jaxprs import get_shape, is_in
from pit_jax.neurons import ILIF, PIT, QAT, QBLIF

# Neurons that fire a * clip(round(u / a), 0, levels).
SCALED = (PIT, QAT, QBLIF)
RESCALED = (nn.Conv, nn.Dense, *NORMS)
# Heights and widths of images that are tried if the caller passes no shape.
SIDES = (32, 28, 8, 16, 48, 64, 128, 224)
# Operations that are linear in their one operand and keep the channels apart.
KEEPING = {
    *("reshape", "squeeze", "broadcast_in_dim", "stack", "tile", "slice", "dynamic_slice"),
    *("reduce_window_sum", "reduce_window_max", "reduce_sum", "adaptive_avg_pool"),
    *("convert_element_type", "copy", "stop_gradient", "neg", "mul", "div"),
}
ADDING = {"add", "add_any", "sub"}

Path = tuple[str, ...]


def to_ilif(
    model: nn.Module, variables: Mapping[str, Any], x_shape: tuple[int, ...] | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network with I-LIF neurons in place of PIT, and its variables: the same function.

    In evaluation mode the twin fires the same integers and returns the same logits, up to rounding.
    The norm (or, without a norm, the weights) in front of a neuron is divided by its scale `a`, and
    the weights that read its spikes are multiplied by `a`; docs/theory/capacity.md derives this.
    Also takes QAT and QBLIF. `x_shape` is the shape of a batch of images `[B, H, W, C]`; by default
    common sizes are tried. Raises ValueError where no twin exists: for T > 1, where spikes or
    membranes of different scales are in one sum, and for other neurons.
    """
    if "params" not in variables:
        raise ValueError(
            "variables must be all that network.init returned, such as {'params': ..., "
            f"'batch_stats': ...}}; got {', '.join(variables) or 'none'}."
        )
    twin = model.clone(**_find_factories(model))
    outline = outline_layers(model, variables, x_shape or _find_shape(model, variables))
    if outline.num_steps > 1:
        raise ValueError(
            f"to_ilif takes networks of one time step, got T={outline.num_steps}; weights, which "
            "all steps share, cannot contain the scale of each step."
        )
    walk = _Walk(outline, variables)
    return twin, walk.rescale()


def _find_factories(model: Any) -> dict[str, Any]:
    """Return factories of I-LIF neurons for the fields of a network that make its neurons.

    Raises ValueError for other neurons, and for a model without such a field.
    """
    names = [each.name for each in fields(model)] if isinstance(model, nn.Module) else []
    made = {
        name: getattr(model, name)()
        for name in names
        if (name == "neuron" or name.endswith("_neuron")) and getattr(model, name) is not None
    }
    if not made:
        raise ValueError(
            "model must be a Flax module with a field `neuron` that makes its neurons, such as the "
            f"networks of pit_jax.models; got {type(model).__name__}."
        )
    for name, neuron in made.items():
        if type(neuron) not in SCALED:
            raise ValueError(
                f"the field {name} of the network makes {type(neuron).__name__}; to_ilif takes "
                f"{', '.join(each.__name__ for each in SCALED)}."
            )
    return {
        name: partial(
            ILIF,
            **{
                field: getattr(neuron, field)
                for field in ("levels", "decay", "decay_input", "detach_reset")
                if hasattr(neuron, field)
            },
        )
        for name, neuron in made.items()
    }


def _find_shape(model: nn.Module, variables: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape of a batch that the network takes; raise ValueError if none is found."""
    params = flatten_dict(variables["params"])
    inputs = sorted({np.shape(x)[-2] for path, x in params.items() if path[-1] == "kernel"})
    images = [(1, side, side, channels) for channels in inputs for side in SIDES]
    reason: Exception | None = None
    for shape in [*images, *((1, features) for features in inputs)]:
        try:
            jax.eval_shape(make_apply(model), variables, jax.ShapeDtypeStruct(shape, np.float32))
        except (ValueError, TypeError, flax.errors.FlaxError) as error:
            reason = reason or error
        else:
            return shape
    raise ValueError(
        "no common size of images fits the network; pass the shape of a batch as x_shape."
    ) from reason


@dataclass(frozen=True)
class _Unit:
    """The unit of a value: the unit of `group`, repeated where positions became channels."""

    group: int
    repeats: int = 1


class _Walk:
    """The units of all values of a network, found by following its operations.

    Values of one group have the same unit. `known` has the unit of a group and the layer that
    requires it.
    """

    def __init__(self, outline: Outline, variables: Mapping[str, Any]) -> None:
        self.flat: dict[Path, Any] = flatten_dict(variables)
        self.constants = outline.constants
        self.parents: list[int] = []
        self.known: dict[int, tuple[np.ndarray, str]] = {}
        self.units: dict[Any, _Unit] = {}
        self.layers: list[tuple[Operation, _Unit, _Unit]] = []
        self.neurons: list[Path] = []
        self.units[outline.pixels] = self._make_group()
        self._require(self.units[outline.pixels], np.ones(1), "the input")
        uses = count_uses(outline.operations, outline.logits)
        for operation in outline.operations:
            if any(v in uses for v in operation.outputs):
                self._follow(operation)
        self._require(self.units[outline.logits], np.ones(1), "the logits")

    def rescale(self) -> dict[str, Any]:
        """Return the variables of the twin."""
        new = {
            path: leaf
            for path, leaf in self.flat.items()
            if not any(path[1 : 1 + len(neuron)] == neuron for neuron in self.neurons)
        }
        for operation, before, after in self.layers:
            sizes = (get_shape(v)[-1] for v in (operation.inputs[0], operation.outputs[0]))
            read, returned = (
                self._expand(unit, size) for unit, size in zip((before, after), sizes, strict=True)
            )
            new |= self._rescale_layer(operation, read, returned)
        return unflatten_dict(new)

    def _rescale_layer(
        self, operation: Operation, read: np.ndarray, returned: np.ndarray
    ) -> dict[Path, Any]:
        """Return the variables of a layer that reads and returns values in these units `[C]`.

        Raises ValueError for a norm without a scale.
        """
        path, module = _get_layer_path(operation), operation.params["module"]
        if isinstance(module, NORMS):
            # x = read x': (x - mean) / sd = (x' - mean / read) read / sd.
            factors = {"scale": read / returned, "bias": 1 / returned, "mean": 1 / read}
            if ("params", *path, "scale") not in self.flat and np.any(read != returned):
                raise ValueError(
                    f"the norm {'/'.join(path)} has no scale that could be changed; give it one."
                )
        else:
            groups, outputs = getattr(module, "feature_group_count", 1), len(returned)
            # A kernel is [..., inputs of a group, outputs].
            rows = np.repeat(read.reshape(groups, -1).T, outputs // groups, axis=1)
            factors = {"kernel": rows / returned, "bias": 1 / returned}
        return {
            key: _multiply(self.flat[key], factor)
            for name, factor in factors.items()
            if (key := ("batch_stats" if name == "mean" else "params", *path, name)) in self.flat
        }

    def _follow(self, operation: Operation) -> None:
        read = [v for v in operation.inputs if is_in(v, self.units)]
        given = [self.units[v] for v in read]
        if not given:  # It depends on variables alone.
            return
        (out,) = operation.outputs
        if operation.name == "layer":
            self.units[out] = self._follow_layer(operation, given[0])
        elif operation.name in ADDING and len(given) == 2:
            self._join(given[0], given[1], operation)
            self.units[out] = given[0]
        elif operation.name in KEEPING and len(given) == 1 and _keeps_channels(operation, read[0]):
            # Channels are last: flat positions are position * C + channel.
            repeats = get_shape(out)[-1] // get_shape(read[0])[-1]
            self.units[out] = _Unit(given[0].group, given[0].repeats * repeats)
        else:
            raise ValueError(
                f"to_ilif has no rule for {operation.reported} {describe_place(operation)}; it "
                "takes convolutions, linear layers, norms, pools, sums and PIT."
            )

    def _follow_layer(self, operation: Operation, before: _Unit) -> _Unit:
        path, module = _get_layer_path(operation), operation.params["module"]
        after, name = self._make_group(), "/".join(path)
        is_neuron = isinstance(module, SCALED)
        is_rescaled = isinstance(module, RESCALED) and getattr(module, "axis", -1) == -1
        if not is_neuron and not is_rescaled:
            raise ValueError(f"{name} is a {type(module).__name__}, for which to_ilif has no rule.")
        # The outline gives later calls paths of their own, which have no variables.
        if not any(key[1:-1] == path for key in self.flat):
            raise ValueError(
                f"{name} is a further call of a layer; to_ilif takes layers that are called once."
            )
        # After x and the traced output come the variables.
        if not all(is_in(v, self.constants) for v in operation.inputs[2:]):
            raise ValueError(
                f"the network computes the weights of {name} from its variables, as nn.WeightNorm "
                "does; to_ilif takes layers that use their variables as they are."
            )
        if is_neuron:
            a = self._read_scale(path)
            self.neurons.append(path)
            self._require(before, a, f"the membranes of {name}")
            self._require(after, a, f"the spikes of {name}")
        else:
            self.layers.append((operation, before, after))
        return after

    def _read_scale(self, path: Path) -> np.ndarray:
        """Return the scale `[C]` of a neuron with one row of scales, or `[1]`."""
        own = {key[-1]: x for key, x in self.flat.items() if key[1:-1] == path}
        scale = np.asarray(own["a"] if "a" in own else own["alpha"] * own["p"], np.float64)
        if not np.isfinite(scale).all():
            raise ValueError(f"{'/'.join(path)} has scales that are not finite.")
        return np.maximum(scale, SCALE_FLOOR).reshape(-1)

    def _make_group(self) -> _Unit:
        self.parents.append(len(self.parents))
        return _Unit(len(self.parents) - 1)

    def _find(self, group: int) -> int:
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def _join(self, a: _Unit, b: _Unit, operation: Operation) -> None:
        """Give the two terms of a sum the same unit; raise ValueError if their channels differ."""
        if a.repeats != b.repeats:
            raise ValueError(
                f"to_ilif has no rule for a sum of positions and channels, "
                f"{describe_place(operation)}."
            )
        first, second = self._find(a.group), self._find(b.group)
        if first == second:
            return
        self.parents[second] = first
        if second in self.known:
            self._require(_Unit(first), *self.known.pop(second))

    def _require(self, unit: _Unit, value: np.ndarray, reason: str) -> None:
        """Fix a unit to `value` `[C]` or `[1]`; raise ValueError if another one is needed."""
        group = self._find(unit.group)
        if value.size > 1:
            rows = value.reshape(unit.repeats, -1)
            if np.any(rows != rows[0]):
                raise ValueError(f"{reason} have different scales at the positions of a channel.")
            value = rows[0]
        other, needed = self.known.setdefault(group, (value, reason))
        if np.any(other != value):
            raise ValueError(
                f"{needed} and {reason} are in one sum, or are the same value, but have different "
                "scales. I-LIF neurons all have the scale 1, so no twin of this network exists."
            )

    def _expand(self, unit: _Unit, size: int) -> np.ndarray:
        value, _ = self.known.get(self._find(unit.group), (np.ones(1), ""))
        return np.tile(np.broadcast_to(value, size // unit.repeats), unit.repeats)


def _get_layer_path(operation: Operation) -> Path:
    return tuple(operation.params["path"].split("/"))


def _keeps_channels(operation: Operation, x: Any) -> bool:
    """Return whether an operation is linear, and keeps channels in the last axis.

    The channel of a result is its place in the last axis, modulo the channels of `x`.
    """
    given, made = get_shape(x), get_shape(operation.outputs[0])
    last, params = len(given) - 1, operation.params
    match operation.name:
        case "reduce_sum":
            return last not in params["axes"]
        case "reduce_window_sum" | "reduce_window_max":
            return bool(params["window_dimensions"][last] == 1 and made[-1] == given[-1])
        case "convert_element_type":
            # Rounded to integers, a value in another unit is another value.
            return bool(jax.numpy.issubdtype(params["new_dtype"], jax.numpy.floating))
        case "broadcast_in_dim":
            return bool(params["broadcast_dimensions"][last] == len(made) - 1)
        case "div":
            return operation.inputs[0] is x
    return made[-1] % given[-1] == 0


def _multiply(leaf: Any, factor: np.ndarray) -> Any:
    return jax.numpy.asarray(np.asarray(leaf, np.float64) * factor, leaf.dtype)
