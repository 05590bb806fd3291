"""Convert a NIR graph to a network of this package and its variables."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import nir
import numpy as np
from jaxtyping import Array

from pit_jax.display import show_value
from pit_jax.export.errors import NotInNIR
from pit_jax.export.nir_file import refuse_kind
from pit_jax.export.nir_network import NIRNetwork, NIRPart, Scale, ThresholdIF, sum_pool
from pit_jax.export.nir_values import read_numbers, read_pair, read_whole, read_wholes
from pit_jax.neurons import IF, LIF
from pit_jax.neurons.step import hard_reset
from pit_jax.old_names import serve_old_names
from pit_jax.reading import quote_error

Make = Callable[[str], Callable[[Array], Any]]
Params = dict[str, Any]
Shape = tuple[int, ...]

MOST_VALUES = 2**28  # Most values in the outputs of a node for one step of one image.


def read_graph(
    graph: nir.NIRGraph, num_steps: int, dt: float, is_known: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a graph with Euler steps of `dt`, and its variables.

    `is_known` is False if `dt` is only the default. Raises NotInNIR, with the name of a node,
    unless all nodes fit together.
    """
    sources = _list_sources(graph)
    try:
        order = list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise NotInNIR(f"the graph is recurrent: {' -> '.join(error.args[1])}.") from error
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    outputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Output)]
    if len(inputs) != 1 or len(outputs) != 1:
        raise NotInNIR(f"the graph must have one input and one output, got {inputs} and {outputs}.")
    parts, params = [], {}
    shapes = {inputs[0]: _read_input(inputs[0], graph.nodes[inputs[0]])}
    for name in order:
        node = graph.nodes[name]
        if isinstance(node, nir.Input) != (not sources[name]):
            raise NotInNIR(f"{name} must read other nodes; only the input reads none.")
        if isinstance(node, nir.Input):
            continue
        shape, *others = (shapes[source] for source in sources[name])
        if set(others) - {shape}:
            raise NotInNIR(f"{name} reads the sum of different shapes: {shape} and {others}.")
        before = sources[name][0]
        flattened = isinstance(graph.nodes[before], nir.Flatten)
        map_shape = shapes[sources[before][0]] if flattened else None
        if isinstance(node, nir.IF) and not is_known:
            _require(name, "r dt", read_gain(name, node, dt), 1.0, "set dt=1/r, or the graph's dt")
        make, variables = _make_part(name, graph, shape, map_shape, dt)
        named = tuple("" if source in inputs else source for source in sources[name])
        parts.append(NIRPart(name, named, make))
        values = {key: jnp.asarray(value) for key, value in variables.items()}
        shapes[name] = _infer_shape(name, make, values, shape)
        if values:
            params[name] = values
    _check_output(outputs[0], graph.nodes[outputs[0]], shapes[outputs[0]])
    # The network returns its last part. Without this, an unused node could be last.
    parts.sort(key=lambda part: part.name == outputs[0])
    rank = len(shapes[inputs[0]])
    return NIRNetwork(tuple(parts), num_steps, rank), {"params": params}


def _list_sources(graph: nir.NIRGraph) -> dict[str, list[str]]:
    """Return which nodes each node reads. Raises NotInNIR for an edge that cannot be one."""
    if not isinstance(graph.nodes, Mapping) or not all(
        isinstance(name, str) and name for name in graph.nodes
    ):
        raise NotInNIR("the graph must have nodes with names.")
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for edge in graph.edges:
        match edge:
            case (str(before), str(after)) if before in sources and after in sources:
                if before in sources[after]:
                    raise NotInNIR(f"the edge {before} -> {after} is there twice.")
                sources[after].append(before)
            case _:
                raise NotInNIR(
                    f"the edge {show_value(edge)} does not connect two nodes of the graph."
                )
    return sources


def _read_input(name: str, node: nir.Input) -> Shape:
    shape = read_wholes(name, "a shape", _get_shape(node.input_type, "input"), 1)
    if not 1 <= len(shape) <= 3 or math.prod(shape) > MOST_VALUES:
        raise NotInNIR(f"{name} has the shape {shape}; it must be [C] or [C, H, W].")
    return (*shape[1:], shape[0])


def _get_shape(declared: Any, name: str) -> Any:
    return declared.get(name) if isinstance(declared, Mapping) else declared


def _check_output(name: str, node: nir.Output, shape: Shape) -> None:
    """Raise NotInNIR unless the output has the shape that it declares, but for axes of size 1."""
    channels_first = (shape[-1], *shape[:-1])
    declared = _get_shape(node.output_type, "output")
    if declared is None:
        return
    sizes = read_wholes(name, "a shape", declared, 1)
    if [n for n in sizes if n > 1] != [n for n in channels_first if n > 1]:
        raise NotInNIR(f"{name} declares the shape {sizes}, but reads {channels_first}.")


def _infer_shape(name: str, make: Make, params: Params, shape: Shape) -> Shape:
    """Return the shape of a part's outputs. Raises NotInNIR if it does not fit its inputs."""
    network = NIRNetwork((NIRPart(name, ("",), make),), 1, len(shape))
    x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    try:
        outputs = jax.eval_shape(network.apply, {"params": {name: params} if params else {}}, x)
    except Exception as error:  # Flax and JAX raise many types for shapes that do not fit.
        raise NotInNIR(
            f"{name} does not fit its inputs of the shape {shape} ({quote_error(error)})."
        ) from error
    _, _, *made = outputs.shape
    if 0 in made or math.prod(made) > MOST_VALUES:
        raise NotInNIR(f"{name} would make outputs of the shape {tuple(made)} from {shape}.")
    return tuple(made)


def _make_part(
    name: str, graph: nir.NIRGraph, shape: Shape, map_shape: Shape | None, dt: float
) -> tuple[Make, Params]:
    node = graph.nodes[name]
    match node:
        case nir.Output():
            return lambda name: lambda x: x, {}
        case nir.Conv2d():
            return _read_conv(name, node, shape)
        case nir.Affine() | nir.Linear():
            return _read_dense(name, node, shape, map_shape)
        case nir.Scale():
            scale = _spread(name, "scale", node.scale, shape)
            return lambda name: Scale(name=name), {"scale": scale}
        case nir.SumPool2d():
            window = _read_window(name, node, shape)
            return lambda name: partial(sum_pool, **window), {}
        case nir.AvgPool2d():
            window = _read_window(name, node, shape)
            terms = math.prod(window["window"])
            return lambda name: lambda x: sum_pool(x, **window) / terms, {}
        case nir.Flatten():
            return _read_flatten(name, graph, shape), {}
        case nir.IF():
            _require(name, "v_reset", node.v_reset, 0.0)
            return _make_neuron(_read_threshold(name, node, shape, dt), 1.0)
        case nir.LIF():
            return _read_lif(name, node, shape, dt)
        case nir.Threshold():
            return _make_neuron(_spread(name, "threshold", node.threshold, shape), 0.0)
    raise refuse_kind(name, type(node).__name__)


def _read_conv(name: str, node: nir.Conv2d, shape: Shape) -> tuple[Make, Params]:
    _check_images(name, shape)
    weight = read_numbers(name, "weights", node.weight)
    groups = read_whole(name, "groups", node.groups, 1)
    stride = read_pair(name, "stride", node.stride, 1)
    if weight.ndim != 4 or weight.shape[1] * groups != shape[-1] or len(weight) % groups:
        raise NotInNIR(
            f"{name} has weights of the shape {weight.shape} in {groups} groups, which do not fit "
            f"inputs of the shape {shape}, channels last."
        )
    params = {"kernel": weight.transpose(2, 3, 1, 0)}
    if node.bias is not None:
        params["bias"] = _read_bias(name, node.bias, len(weight))
    conv = partial(
        nn.Conv,
        len(weight),
        weight.shape[2:],
        stride,
        _read_padding(name, node.padding, stride),
        kernel_dilation=read_pair(name, "dilation", node.dilation, 1),
        feature_group_count=groups,
        use_bias="bias" in params,
    )
    return lambda name: conv(name=name), params


def _check_images(name: str, shape: Shape) -> None:
    """Raise NotInNIR unless inputs are images, as convolutions and pools over two axes read."""
    if len(shape) != 3:
        raise NotInNIR(f"{name} reads images (H, W, C), channels last, not the shape {shape}.")


def _read_bias(name: str, value: Any, features: int) -> np.ndarray:
    bias = read_numbers(name, "a bias", value)
    if bias.size != 1 and bias.shape != (features,):
        raise NotInNIR(f"{name} has a bias of the shape {bias.shape} for {features} features.")
    return np.broadcast_to(bias.ravel(), features)


def _read_padding(name: str, padding: Any, stride: tuple[int, int]) -> Any:
    if isinstance(padding, str) and padding in ("same", "valid"):
        if padding == "same" and stride != (1, 1):
            raise NotInNIR(f"{name} has the padding 'same' and a stride; give numbers as padding.")
        return padding.upper()
    return tuple((p, p) for p in read_pair(name, "padding", padding, 0))


def _read_dense(
    name: str, node: nir.Affine | nir.Linear, shape: Shape, map_shape: Shape | None
) -> tuple[Make, Params]:
    """Return a linear layer, which reads the flattened map of the shape `map_shape` if given."""
    weight = read_numbers(name, "weights", node.weight)
    if weight.ndim != 2:
        raise NotInNIR(f"{name} has weights of the shape {weight.shape}; it must have two axes.")
    features = len(weight)
    if weight.shape[1] != shape[-1]:
        # Some tools declare [1, C], and then (C, 1) are C places with one channel.
        hint = f"; NIR has no batch axis, so declare the input as [{shape[0]}], not [1, {shape[0]}]"
        raise NotInNIR(
            f"{name} has weights of the shape {weight.shape}, which do not fit inputs of the shape "
            f"{shape}, channels last{hint if shape == (weight.shape[1], 1) else ''}."
        )
    if map_shape is not None and weight.shape[1] == math.prod(map_shape):
        # NIR flattens images with the channels first, this package with the channels last.
        places = weight.reshape(features, map_shape[-1], *map_shape[:-1])
        weight = np.moveaxis(places, 1, -1).reshape(features, -1)
    params = {"kernel": weight.T}
    if isinstance(node, nir.Affine):
        params["bias"] = _read_bias(name, node.bias, features)
    bias = "bias" in params
    return lambda name: nn.Dense(features, use_bias=bias, name=name), params


def _read_flatten(name: str, graph: nir.NIRGraph, shape: Shape) -> Make:
    node = graph.nodes[name]
    readers = {after: graph.nodes[after] for before, after in graph.edges if before == name}
    linear = all(isinstance(reader, nir.Affine | nir.Linear) for reader in readers.values())
    alone = all(before == name for before, after in graph.edges if after in readers)
    start, end = (
        read_whole(name, what, value, -len(shape))
        for what, value in (("start_dim", node.start_dim), ("end_dim", node.end_dim))
    )
    whole = len(range(len(shape))[start : end + 1 or None]) == len(shape)
    if not whole or not linear or not alone:
        raise NotInNIR(
            f"{name} must flatten a whole image for linear layers that read nothing else."
        )
    return lambda name: lambda x: x.reshape(*x.shape[:2], -1)


def _read_lif(name: str, node: nir.LIF, shape: Shape, dt: float) -> tuple[Make, Params]:
    _require(name, "v_reset", node.v_reset, 0.0)
    _require(name, "v_leak", node.v_leak, 0.0)
    tau = np.unique(read_numbers(name, "tau", node.tau)).astype(np.float64)
    if tau.size != 1 or not tau[0] >= dt:
        raise NotInNIR(
            f"{name} has tau = {_show_range(tau)}; it must be one number of at least dt = {dt:g}."
        )
    decay = float(1 - dt / tau[0])
    if is_near(read_gain(name, node, dt), 1 - decay) and decay > 0:
        threshold = _spread(name, "v_threshold", node.v_threshold, shape)
        return _make_neuron(threshold, decay, decay_input=True)
    return _make_neuron(_read_threshold(name, node, shape, dt), decay)


def read_gain(name: str, node: nir.IF | nir.LIF, dt: float) -> np.ndarray:
    """Return the factor of the current i in an Euler step.

    IF: v + dt r i. LIF: v + (dt / tau) (r i - v) = (1 - dt / tau) v + (r dt / tau) i. Our neurons
    have the decay 1 - dt / tau and the gain 1, or 1 - decay with `decay_input`.
    """
    tau = read_numbers(name, "tau", node.tau) if isinstance(node, nir.LIF) else 1.0
    # Parameters in half precision would round the products.
    return np.asarray(read_numbers(name, "r", node.r).astype(np.float64) * dt / tau)


def is_near(value: Any, wanted: float) -> bool:
    """Return whether numbers differ from `wanted` by no more than roundings of float32 can."""
    return bool(np.allclose(value, wanted, rtol=1e-5, atol=0))


def find_folded(graph: nir.NIRGraph, dt: float) -> dict[str, float]:
    """Return the nodes whose gain `_read_threshold` folds, with the gain that differs most."""
    folded = {}
    for name, node in graph.nodes.items():
        if isinstance(node, nir.IF | nir.LIF):
            gain = read_gain(name, node, dt)
            decays = isinstance(node, nir.LIF) and is_near(gain, float(dt / np.max(node.tau)))
            if not is_near(gain, 1.0) and not decays:
                folded[name] = float(gain.flat[np.argmax(np.abs(np.log(gain)))])
    return folded


def _read_threshold(name: str, node: nir.IF | nir.LIF, shape: Shape, dt: float) -> np.ndarray:
    """Return thresholds for currents without a gain.

    A membrane that starts and resets at 0 is proportional to the gain, so dividing the threshold
    by the gain leaves the spikes equal, but for roundings.
    """
    threshold = _spread(name, "v_threshold", node.v_threshold, shape)
    gain = read_gain(name, node, dt)
    if is_near(gain, 1.0):
        return threshold
    what = "r dt / tau" if isinstance(node, nir.LIF) else "r dt"
    with np.errstate(all="ignore"):
        folded = threshold / _spread(name, what, gain, shape)
        is_finite = np.all(np.isfinite(folded.astype(np.float32)))
    if not np.all(gain > 0) or not is_finite:
        raise NotInNIR(
            f"{name} has {what} = {_show_range(gain)}; it must be above 0, and large enough for "
            f"its threshold of {_show_range(threshold)}."
        )
    return folded


def _spread(name: str, what: str, value: Any, shape: Shape) -> np.ndarray:
    """Return a parameter of the shape [C] or [C, H, W], or a scalar, in `shape`, channels last."""
    array = read_numbers(name, what, value)
    if array.size == 1:
        return np.full(shape, array.item(), array.dtype)
    # With fewer axes than the inputs, an axis could mean channels or pixels.
    if array.ndim == len(shape):
        try:
            return np.broadcast_to(np.moveaxis(array, 0, -1), shape)
        except ValueError:
            pass
    raise NotInNIR(
        f"{name} has {what} of the shape {array.shape}, channels first, which does not fit inputs "
        f"of the shape {shape}, channels last."
    )


def _make_neuron(
    threshold: np.ndarray, decay: float, decay_input: bool = False
) -> tuple[Make, Params]:
    """Return a neuron with the next float as threshold: NIR fires above a threshold, we at it."""
    threshold = threshold.astype(jnp.result_type(float))
    # u > threshold is u >= the next float, exactly.
    threshold = np.nextafter(threshold, threshold.dtype.type(np.inf))
    # XLA rounds subnormal numbers to 0, so the least threshold above 0 is a normal one.
    tiny = 2 * np.finfo(threshold.dtype).tiny
    threshold = np.where((threshold > 0) & (threshold < tiny), tiny, threshold)
    if threshold.flat[0] > 0 and np.all(threshold == threshold.flat[0]):
        one = float(threshold.flat[0])
        if decay == 1:
            return lambda name: IF(one, name=name), {}
        lif = partial(LIF, decay, one, reset=hard_reset, decay_input=decay_input)
        return lambda name: lif(name=name), {}
    if decay_input:  # ThresholdIF does not scale currents by 1 - decay: thresholds grow instead.
        threshold = threshold / threshold.dtype.type(1 - decay)
    return lambda name: ThresholdIF(decay, name=name), {"threshold": threshold}


def _require(name: str, what: str, value: Any, wanted: float, why: str = "") -> None:
    got = read_numbers(name, what, value)
    if not got.size or not np.allclose(got, wanted):
        why = f" ({why})" if why else ""
        raise NotInNIR(f"{name} has {what} = {_show_range(got)}; it must be {wanted:g}{why}.")


def _show_range(values: np.ndarray) -> str:
    if not values.size:
        return "nothing"
    least, most = values.min(), values.max()
    return f"{least:g}" if least == most else f"{least:g}...{most:g}"


def _read_window(name: str, node: nir.AvgPool2d | nir.SumPool2d, shape: Shape) -> dict[str, Any]:
    _check_images(name, shape)
    top, left = read_pair(name, "padding", node.padding, 0)
    return {
        "window": read_pair(name, "a kernel size", node.kernel_size, 1),
        "strides": read_pair(name, "stride", node.stride, 1),
        "padding": ((top, top), (left, left)),
    }


serve_old_names(__name__)
