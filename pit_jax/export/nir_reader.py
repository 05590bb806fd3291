"""Convert a NIR graph to a network of this package and its variables."""

import math
from collections.abc import Callable
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import nir
import numpy as np
from jaxtyping import Array

from pit_jax.export.errors import NotInNIR
from pit_jax.export.nir_network import NIRNetwork, NIRPart, Scale, ThresholdIF, sum_pool
from pit_jax.neurons import IF, LIF
from pit_jax.neurons.step import hard_reset
from pit_jax.old_names import serve_old_names

Make = Callable[[str], Callable[[Array], Array]]
Params = dict[str, Any]


def read_graph(graph: nir.NIRGraph, num_steps: int, dt: float) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a graph with Euler steps of `dt`, and its variables."""
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for before, after in graph.edges:
        sources[after].append(before)
    try:
        order = list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise NotInNIR(f"the graph is recurrent: {' -> '.join(error.args[1])}.") from error
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    outputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Output)]
    if len(inputs) != 1 or len(outputs) != 1:
        raise NotInNIR(f"the graph must have one input and one output, got {inputs} and {outputs}.")
    parts, params = [], {}
    for name in order:
        node = graph.nodes[name]
        if isinstance(node, nir.Input):
            continue
        make, variables = _make_part(name, graph, sources[name], dt)
        named = tuple("" if source in inputs else source for source in sources[name])
        parts.append(NIRPart(name, named, make))
        if variables:
            params[name] = {key: jnp.asarray(value) for key, value in variables.items()}
    # The network returns its last part. Without this, an unused node could be last.
    parts.sort(key=lambda part: part.name == outputs[0])
    rank = len(graph.nodes[inputs[0]].input_type["input"])
    return NIRNetwork(tuple(parts), num_steps, rank), {"params": params}


def _make_part(
    name: str, graph: nir.NIRGraph, sources: list[str], dt: float
) -> tuple[Make, Params]:
    node = graph.nodes[name]
    match node:
        case nir.Output():
            return lambda name: lambda x: x, {}
        case nir.Conv2d():
            return _read_conv(node)
        case nir.Affine() | nir.Linear():
            return _read_dense(node, graph, sources)
        case nir.Scale():
            return lambda name: Scale(name=name), {"scale": _move_channels_last(node.scale)}
        case nir.SumPool2d():
            return lambda name: partial(sum_pool, **_read_window(node)), {}
        case nir.AvgPool2d():
            window = _read_window(node)
            terms = math.prod(window["window"])
            return lambda name: lambda x: sum_pool(x, **window) / terms, {}
        case nir.Flatten():
            return _read_flatten(name, graph), {}
        case nir.IF():
            _require(name, "v_reset", node.v_reset, 0.0)
            # Euler: v + dt r i, which is our neuron if r dt = 1.
            _require(name, "r dt", node.r * dt, 1.0, "set dt=1/r")
            return _make_neuron(node.v_threshold, 1.0)
        case nir.LIF():
            return _read_lif(name, node, dt)
        case nir.Threshold():
            return _make_neuron(node.threshold, 0.0)
    raise NotInNIR(
        f"{name} is a {type(node).__name__}, which cannot be read; supported are Conv2d, Affine, "
        "Linear, Scale, SumPool2d, AvgPool2d, Flatten, IF, LIF and Threshold."
    )


def _read_conv(node: nir.Conv2d) -> tuple[Make, Params]:
    kernel = node.weight.transpose(2, 3, 1, 0)
    padding = node.padding
    conv = partial(
        nn.Conv,
        kernel.shape[-1],
        kernel.shape[:2],
        _make_pair(node.stride),
        padding.upper() if isinstance(padding, str) else tuple((p, p) for p in _make_pair(padding)),
        kernel_dilation=_make_pair(node.dilation),
        feature_group_count=int(node.groups),
    )
    return lambda name: conv(name=name), {"kernel": kernel, "bias": node.bias}


def _read_dense(
    node: nir.Affine | nir.Linear, graph: nir.NIRGraph, sources: list[str]
) -> tuple[Make, Params]:
    weight = node.weight
    for source in sources:  # NIR flattens images channels first, we channels last.
        before = graph.nodes[source]
        if isinstance(before, nir.Flatten):
            shape = tuple(int(n) for n in before.input_type["input"])
            places = weight.reshape(len(weight), *shape)
            weight = np.moveaxis(places, 1, -1).reshape(len(weight), -1)
    params = {"kernel": weight.T}
    if isinstance(node, nir.Affine):
        params["bias"] = node.bias
    features, bias = len(weight), "bias" in params
    return lambda name: nn.Dense(features, use_bias=bias, name=name), params


def _read_flatten(name: str, graph: nir.NIRGraph) -> Make:
    node = graph.nodes[name]
    readers = {after: graph.nodes[after] for before, after in graph.edges if before == name}
    linear = all(isinstance(reader, nir.Affine | nir.Linear) for reader in readers.values())
    alone = all(before == name for before, after in graph.edges if after in readers)
    if len(node.output_type["output"]) != 1 or not linear or not alone:
        raise NotInNIR(
            f"{name} must flatten a whole image for linear layers that read nothing else."
        )
    return lambda name: lambda x: x.reshape(*x.shape[:2], -1)


def _read_lif(name: str, node: nir.LIF, dt: float) -> tuple[Make, Params]:
    _require(name, "v_reset", node.v_reset, 0.0)
    _require(name, "v_leak", node.v_leak, 0.0)
    # Euler: v + (dt / tau) (r i - v) = (1 - dt / tau) v + (r dt / tau) i. Our LIF has the decay
    # 1 - dt / tau and the gain 1, or 1 - decay with decay_input.
    tau = np.unique(node.tau)
    if tau.size > 1 or not tau[0] >= dt:
        raise NotInNIR(f"{name} has tau {tau}; it must be one number of at least dt = {dt}.")
    decay = float(1 - dt / tau[0])
    gain = node.r * dt / tau[0]
    decay_input = not np.allclose(gain, 1)
    if decay_input:
        _require(name, "r dt / tau", gain, 1 - decay, "or 1")
    return _make_neuron(node.v_threshold, decay, decay_input)


def _make_neuron(
    threshold: np.ndarray, decay: float, decay_input: bool = False
) -> tuple[Make, Params]:
    """Return a neuron with the next float as threshold: NIR fires above a threshold, we at it."""
    threshold = _move_channels_last(threshold).astype(jnp.result_type(float))
    # u > threshold is u >= the next float, exactly.
    threshold = np.nextafter(threshold, threshold.dtype.type(np.inf))
    if np.all(threshold == threshold.flat[0]):
        one = float(threshold.flat[0])
        if decay == 1:
            return lambda name: IF(one, name=name), {}
        lif = partial(LIF, decay, one, reset=hard_reset, decay_input=decay_input)
        return lambda name: lif(name=name), {}
    if decay_input:  # ThresholdIF does not scale currents by 1 - decay: thresholds grow instead.
        threshold = threshold / threshold.dtype.type(1 - decay)
    return lambda name: ThresholdIF(decay, name=name), {"threshold": threshold}


def _require(name: str, what: str, got: np.ndarray, wanted: float, why: str = "") -> None:
    if not np.allclose(got, wanted):
        got = np.unique(got)
        why = f" ({why})" if why else ""
        raise NotInNIR(f"{name} has {what} = {got[0]:g}...{got[-1]:g}; it must be {wanted:g}{why}.")


def _read_window(node: nir.AvgPool2d | nir.SumPool2d) -> dict[str, Any]:
    top, left = _make_pair(node.padding)
    return {
        "window": _make_pair(node.kernel_size),
        "strides": _make_pair(node.stride),
        "padding": ((top, top), (left, left)),
    }


def _make_pair(x: Any) -> tuple[int, int]:
    first, second = np.broadcast_to(x, (2,))
    return int(first), int(second)


def _move_channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 0, -1)


serve_old_names(__name__)
