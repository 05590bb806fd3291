"""Encode a compiled program as JSON, which `interpreter.js` runs in a browser with integers.

The dataclasses of the program are stored as in a saved program, and each array as base64 of its
integers, with just as many bits as its largest needs. A browser adds and compares integers only:
pixels enter through a table of the integer for each byte, and CLIF's sigmoid is a table too.
"""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pit_jax.inference import SpikingProgram
from pit_jax.inference.costs import Cost
from pit_jax.inference.fan_out import Window, count_attention, count_fan_out, find_last_shape
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import FixedNeuron, sigmoid_table
from pit_jax.inference.runtime.pixels import InputReader
from pit_jax.inference.storage import to_json

from ..errors import UserError

FORMAT = 1
# The scripts that run the JSON; each uses those before it.
INTERPRETER = ("integers.js", "currents.js", "neurons.js", "interpreter.js")
# A page of a larger program would load for seconds and run for longer.
MOST_BYTES = 3_000_000


def encode_program(program: SpikingProgram) -> dict[str, Any]:
    """Return a program for images as JSON, with its layers and costs for the page to show.

    Raises UserError for a program that takes no uint8 pixels, has other shapes than the interpreter
    knows, or is too large for a page.
    """
    pixels, last = program.nodes[0], program.nodes[-1]
    assert isinstance(pixels, nodes.Pixels) and isinstance(last, nodes.Accumulator)
    if program.normalization is None:
        raise UserError(
            "the program takes normalized floats only, and a page draws pixels. Compile it with "
            "mean and std."
        )
    graph = _simplify(program.nodes)
    named: dict[str, np.ndarray] = {}
    described = to_json(graph, named, "nodes")
    # Units are floats that only the compiler needs.
    arrays = {name: array for name, array in named.items() if not name.endswith(".unit")}
    _check_size(arrays.values())
    has_slow = any(isinstance(n, nodes.Spikes) and n.neuron.one is not None for n in graph)
    image = np.zeros((1, *pixels.shape), np.uint8)
    return {
        "format": FORMAT,
        "steps": program.num_steps,
        "shape": list(pixels.shape),
        "classes": last.shape[0],
        "layers": [_describe_layer(n) for n in graph if isinstance(n, nodes.Spikes)],
        "rows": _describe_rows(graph, program.costs(image).rows),
        "relu_macs": count_relu_products(graph),
        # The mean over the steps so far, as a stream returns it; of all steps as the program does.
        "units": [last.unit.item() / (t + 1) for t in range(program.num_steps)],
        "table": pack(InputReader(pixels, program.normalization).compute_integers()),
        "sigmoid": pack(sigmoid_table()) if has_slow else None,
        "nodes": described,
        "arrays": {name: pack(array) for name, array in arrays.items()},
    }


def pack(array: np.ndarray) -> dict[str, Any]:
    """Return integers as base64 of the fewest bits that hold `array - low`, lowest bit first."""
    low, bits = _measure_range(array)
    numbers = (array.reshape(-1).astype(np.int64) - low).astype(np.uint32)
    rows = (numbers[:, None] >> np.arange(bits, dtype=np.uint32)) & 1
    packed = np.packbits(rows.astype(bool), bitorder="little")
    return {
        "shape": list(array.shape),
        "bits": bits,
        "low": low,
        "data": b64encode(packed.tobytes()).decode(),
    }


def count_relu_products(graph: Sequence[nodes.Node]) -> int:
    """Return the products of a ReLU network with the same layers in one pass over one image.

    Convolutions, linear layers and attention count; products with zeros of a padding do not. A
    layer that has a copy of its weights for each step or stream multiplies once.
    """
    neurons = {node.path for node in graph if isinstance(node, nodes.Spikes)}
    layers: dict[str, int] = {}
    for node in graph:
        match node:
            case nodes.Accumulator():
                for synapse in node.synapses:
                    # PITFull's mixing of channels has the path of its neuron.
                    if synapse.kind in ("conv", "dense") and synapse.path not in neurons:
                        products = _count_products(synapse, graph[synapse.source].shape)
                        layers[synapse.path] = max(products, layers.get(synapse.path, 0))
            case nodes.LinearAttention():
                width = node.weight.shape[-1]
                layers[node.path] = count_attention(node.shape, node.heads, width)
    return sum(layers.values())


def _count_products(synapse: nodes.Synapse, shape: tuple[int, ...]) -> int:
    assert synapse.weight is not None
    kernel = synapse.weight.shape[1:]
    window = Window(kernel, synapse.strides, synapse.padding, synapse.groups)
    weight = kernel[-1] if synapse.kind == "dense" else window
    # A ReLU network pools before it multiplies, hence not `spiking`.
    return count_fan_out(synapse.structure, shape, weight, spiking=False).connections


def _describe_layer(node: nodes.Spikes) -> dict[str, Any]:
    return {
        "path": node.path,
        "shape": list(node.shape),
        "slots": list(node.neuron.slots),
        "signed": node.neuron.signed,
    }


def _describe_rows(graph: Sequence[nodes.Node], rows: Sequence[Cost]) -> list[dict[str, Any]]:
    """Return the rows of the costs, each with the number of the neuron layer that it reads."""
    spiking = [number for number, node in enumerate(graph) if isinstance(node, nodes.Spikes)]
    layers = {number: layer for layer, number in enumerate(spiking)}
    sources: list[int] = []
    for node in graph:
        match node:
            case nodes.Accumulator():
                sources += [synapse.source for synapse in node.synapses]
            case nodes.LinearAttention():
                sources.append(-1)
    described = []
    for row, source in zip(rows, sources, strict=True):
        fields = asdict(row) | {"layer": layers.get(source, -1)}
        del fields["accumulations"]  # They depend on the image.
        described.append(fields)
    return described


def _simplify(graph: Sequence[nodes.Node]) -> list[nodes.Node]:
    """Return nodes whose arrays the interpreter can repeat over places: entry i modulo the size.

    Raises UserError for shapes that it does not know.
    """
    simple: list[nodes.Node] = []
    for node in graph:
        match node:
            case nodes.Accumulator():
                synapses = tuple(_simplify_synapse(s, graph, node) for s in node.synapses)
                bias = _repeat_over_places(node.bias, node.shape)
                simple.append(replace(node, synapses=synapses, bias=bias))
            case nodes.Spikes():
                _check_neuron(node.neuron, node)
                simple.append(node)
            case nodes.Product():
                for source, pools in zip((node.first, node.second), node.pools, strict=True):
                    shape = find_last_shape(pools, graph[source].shape)
                    _require(_is_repeated(shape, node.shape), node.path)
                simple.append(node)
            case nodes.Pixels() | nodes.LinearAttention():
                simple.append(node)
            case _:
                raise UserError(f"a page cannot run a {type(node).__name__}.")
    return simple


def _simplify_synapse(
    synapse: nodes.Synapse, graph: Sequence[nodes.Node], node: nodes.Accumulator
) -> nodes.Synapse:
    shape = find_last_shape(synapse.structure, graph[synapse.source].shape)
    if synapse.weight is None or synapse.kind == "diagonal":
        _require(np.prod(shape) == np.prod(node.shape), synapse.path)
    if synapse.weight is None or synapse.kind != "diagonal":
        return synapse
    return replace(synapse, weight=_repeat_over_places(synapse.weight, shape))


def _check_neuron(neuron: FixedNeuron, node: nodes.Spikes) -> None:
    fields = (neuron.first, neuron.step, neuron.drop, neuron.leak, neuron.leak_fired)
    for array in (*fields, neuron.one, neuron.slowness):
        fits = array is None or (array.ndim == 2 and array.shape[1] in (1, node.shape[-1]))
        _require(fits, node.path)


def _repeat_over_places(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `array` `[1 or T, ...]`, written out for all of `shape` if repeating is not enough."""
    if _is_repeated(array.shape[1:], shape):
        return array
    ones = (1,) * (len(shape) + 1 - array.ndim)
    aligned = array.reshape(len(array), *ones, *array.shape[1:])
    return np.broadcast_to(aligned, (len(array), *shape))


def _is_repeated(small: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Return whether an array of `small` only repeats as a whole when it is broadcast to `shape`.

    The shape [1, 1, C] repeats in [H, W, C]; [H, 1, C] does not.
    """
    while small and small[0] == 1:
        small = small[1:]
    return not small or tuple(shape[-len(small) :]) == tuple(small)


def _require(fits: Any, path: str) -> None:
    if not fits:
        raise UserError(f"{path} has shapes that the interpreter of a page does not know.")


def _measure_range(array: np.ndarray) -> tuple[int, int]:
    """Return the least integer and the number of bits that hold all others above it."""
    low, high = int(array.min()), int(array.max())
    return low, (high - low).bit_length()


def _check_size(arrays: Iterable[np.ndarray]) -> None:
    """Raise UserError for a program that is too large for a page."""
    # base64 has 4 characters for 3 bytes.
    size = sum(array.size * _measure_range(array)[1] / 8 * 4 / 3 for array in arrays)
    if size > MOST_BYTES:
        raise UserError(
            f"the program's integers take {size / 1e6:.1f} MB, and a page may have "
            f"{MOST_BYTES / 1e6:.0f} MB. Choose --weights int8 or a smaller network."
        )
