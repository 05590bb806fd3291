"""One step of a network in integers: its counts at once, or their binary slots one by one."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pit_jax.inference.compiler.quantize import PIXEL_BITS
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import (
    NeuronState,
)
from pit_jax.inference.runtime.reductions import Structure

# Bits of a pixel in the lower of two halves.
HALF = PIXEL_BITS // 2

Weights = list[list[Array | None]]
# Counts as they are, or as D binary slots each.
Form = Literal["counts", "slots"]


class Step(NamedTuple):
    """What one step leaves: the state of each neuron layer, and the output of each node.

    A node of spikes gives counts `[B, ...]` or slots `[D, B, ...]`, all others `[B, ...]`.
    """

    states: dict[int, NeuronState]
    outputs: list[Array]


def check_input(given: tuple[Any, ...], pixels: tuple[int, ...], num_steps: int) -> None:
    """Raises ValueError unless inputs of the shape `given` are images or frames of `pixels`.

    Exported, a batch has a symbol for its size.
    """
    if given[1:] not in (pixels, (num_steps, *pixels)):
        size = ", ".join(map(str, pixels))
        raise ValueError(
            f"the program takes images [B, {size}] or frames [B, {num_steps}, {size}], got {given}."
        )


def weights_of(graph: Sequence[nodes.Node]) -> Weights:
    """The weights of every node's synapses, as a run takes them."""
    return [
        [None if s.weight is None else jnp.asarray(s.weight) for s in node.synapses]
        if isinstance(node, nodes.Accumulator)
        else []
        for node in graph
    ]


def sampled(node: nodes.Pixels, x: Float[Array, "B H W C"]) -> Array:
    """Pixels as integers `[B, H, W, C]` float32, cut off where they exceed the node's bound.

    What is no number is 0: each runtime would make another integer of it.
    """
    x = jnp.where(jnp.isnan(x), 0, x)
    return jnp.clip(jnp.round(x / node.unit), -node.bound, node.bound)


def step(
    graph: Sequence[nodes.Node],
    weights: Weights,
    states: dict[int, NeuronState],
    pixels: Float[Array, "B H W C"],
    t: int,
    form: Form,
) -> Step:
    """Runs step `t`; `states` is empty before the first."""
    outputs: list[Array] = []
    after: dict[int, NeuronState] = {}
    for number, node in enumerate(graph):
        match node:
            case nodes.Pixels():
                outputs.append(sampled(node, pixels))
            case nodes.Accumulator():
                parts = [
                    _current(synapse, weight, outputs[synapse.source], graph, t, form)
                    for synapse, weight in zip(node.synapses, weights[number], strict=True)
                ]
                bias = row_of(node.bias, t).astype(np.int32)
                shape = (pixels.shape[0], *node.shape)
                total = sum(parts[1:], parts[0]) + jnp.asarray(bias).reshape(
                    (1,) * (len(shape) - bias.ndim) + bias.shape
                )
                outputs.append(jnp.broadcast_to(total, shape))
            case nodes.Spikes():
                current = outputs[node.accumulator]
                state = states.get(number) or node.neuron.start(current)
                fire = node.neuron.count if form == "counts" else node.neuron.slotted
                after[number], spikes = fire(state, current, t)
                outputs.append(spikes)
            case nodes.Product():
                outputs.append(_product(node, outputs, form))
            case nodes.LinearAttention():
                outputs.append(_attention(node, outputs, t, form))
    return Step(after, outputs)


def row_of(x: np.ndarray, t: int) -> np.ndarray:
    """The numbers of step t, of `[1 or T, ...]`."""
    return x[t if len(x) > 1 else 0]


def _current(
    synapse: nodes.Synapse,
    weight: Array | None,
    x: Array,
    graph: Sequence[nodes.Node],
    t: int,
    form: Form,
) -> Array:
    """The current of one source, `[B, ...]` int32."""
    source = graph[synapse.source]
    if weight is not None:
        weight = weight[t if len(weight) > 1 else 0]
    if isinstance(source, nodes.Accumulator | nodes.LinearAttention):
        x = structured(synapse.structure, x)
        if weight is None:
            return x
        if synapse.kind == "diagonal":
            return x * weight
        x = _rounded(x, synapse.shift)
        return _rounded(weighed(synapse, x, weight), synapse.extra)
    # Every sum is below 2^24, so float32 has it exactly, in any order.
    weight = None if weight is None else weight.astype(jnp.float32)
    if isinstance(source, nodes.Pixels):
        # In two halves, for with all their bits the sums of products would exceed 2^24.
        x = structured(synapse.structure, x)
        high = jnp.floor(x / 2**HALF)
        parts = weighed(synapse, jnp.concatenate([high, x - high * 2**HALF]), weight)
        high, low = jnp.split(parts.astype(jnp.int32), 2)
        return _rounded((high << HALF) + low, synapse.extra)
    if form == "counts":
        x = structured(synapse.structure, x.astype(jnp.float32))
        return weighed(synapse, x, weight).astype(jnp.int32)
    slots, batch = x.shape[:2]
    x = structured(synapse.structure, x.astype(jnp.float32).reshape(-1, *x.shape[2:]))
    each = weighed(synapse, x, weight)
    each = each.reshape(slots, batch, *each.shape[1:])
    if isinstance(source, nodes.Spikes):
        worth = jnp.asarray(source.neuron.slots, jnp.float32)
        each = each * worth.reshape(-1, *(1,) * (each.ndim - 1))
    return jnp.sum(each, axis=0).astype(jnp.int32)


def structured(structure: Sequence[Structure], x: Array) -> Array:
    """What a source `[B, ...]` is behind its pools, sums and reshapes."""
    for each in structure:
        x = each(x)
    return x


def _rounded(x: Array, bits: int) -> Array:
    return (x + (1 << bits >> 1)) >> bits


def weighed(synapse: nodes.Synapse, x: Array, weight: Array | None) -> Array:
    """x `[B, ...]` times the weights of one step, or x itself without any."""
    exact = jax.lax.Precision.HIGHEST
    if weight is None:
        return x
    match synapse.kind:
        case "diagonal":
            return x * weight
        case "dense":
            return jax.lax.dot_general(
                x, weight, (((x.ndim - 1,), (0,)), ((), ())), precision=exact
            )
    return jax.lax.conv_general_dilated(
        x,
        weight,
        synapse.strides,
        synapse.padding,
        feature_group_count=synapse.groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=exact,
    )


def pooled(x: Array, structure: Sequence[Structure], form: Form) -> Array:
    """Counts `[B, ...]` or slots `[D, B, ...]` behind maxima over places."""
    if form == "counts":
        return structured(structure, x)
    each = structured(structure, x.reshape(-1, *x.shape[2:]))
    return each.reshape(*x.shape[:2], *each.shape[1:])


def _product(node: nodes.Product, outputs: Sequence[Array], form: Form) -> Array:
    first, second = (
        pooled(outputs[source], structure, form)
        for source, structure in zip((node.first, node.second), node.pools, strict=True)
    )
    if form == "counts":
        return first * (1 - second if node.silent else second)
    if node.silent:
        return first * (1 - second)
    # A slot of each with one of the other: 1 where both are.
    both = first[:, None] * second[None]
    return both.reshape(-1, *both.shape[2:])


def _attention(node: nodes.LinearAttention, outputs: Sequence[Array], t: int, form: Form) -> Array:
    def heads(source: int) -> Array:
        x = outputs[source].astype(jnp.int32)
        x = x if form == "slots" else x[None]
        return x.reshape(*x.shape[:2], -1, node.heads, x.shape[-1] // node.heads)

    query, key, value = map(heads, (node.query, node.key, node.value))
    weight = jnp.asarray(row_of(node.weight, t)).reshape(1, node.heads, -1, 1)
    met = jnp.einsum("dbnhc,ebnhf->bhcf", key, value)
    mixed = jnp.einsum("dbnhc,bhcf->bnhf", query, met * weight)
    return mixed.reshape(mixed.shape[0], *node.shape)


def run(
    graph: Sequence[nodes.Node],
    weights: Weights,
    x: Float[Array, "..."],
    num_steps: int,
    form: Form,
    show: Callable[[list[Array]], Any],
) -> list[Any]:
    """What `show` takes of the outputs of each step, for images or frames `x`."""
    states: dict[int, NeuronState] = {}
    shown = []
    for t in range(num_steps):
        frame = x if x.ndim == 4 else x[:, t]
        states, outputs = step(graph, weights, states, frame, t, form)
        shown.append(show(outputs))
    return shown
