"""Run one step of a network in integers, on counts or on their binary slots."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import NeuronState
from pit_jax.inference.runtime.reductions import Structure, apply_structure
from pit_jax.old_names import accept_old_keywords, serve_old_names

# Bits of the lower half of a pixel.
HALF = nodes.PIXEL_BITS // 2

Weights = list[list[Array | None]]
# The form of spikes: integer counts, or each count as D binary slots.
Form = Literal["counts", "slots"]


class Step(NamedTuple):
    """The results of one step: the state of each neuron layer, and the output of each node.

    Spikes are counts `[B, ...]` or slots `[D, B, ...]`, the output of any other node `[B, ...]`.
    """

    states: dict[int, NeuronState]
    outputs: list[Array]


def check_input(given: tuple[Any, ...], pixels: tuple[int, ...], num_steps: int) -> None:
    """Raise ValueError unless inputs of the shape `given` have no axis of time, or all steps."""
    # given[0] can be a symbol: in an exported program the size of a batch is one.
    if given[1:] not in (pixels, (num_steps, *pixels)):
        size = ", ".join(map(str, pixels))
        once, steps = ("images", "frames") if len(pixels) == 3 else ("features", "steps of them")
        raise ValueError(
            f"the program takes {once} [B, {size}] or {steps} [B, {num_steps}, {size}], got "
            f"{given}."
        )


@accept_old_keywords
def collect_weights(graph: Sequence[nodes.Node]) -> Weights:
    """Return the weights of every node's synapses in the form that `run` takes."""
    return [
        [None if s.weight is None else jnp.asarray(s.weight) for s in node.synapses]
        if isinstance(node, nodes.Accumulator)
        else []
        for node in graph
    ]


def quantize_pixels(node: nodes.Pixels, x: Float[Array, "B ..."]) -> Array:
    """Return pixels as integers `[B, H, W, C]` in float32, clipped at the node's bound."""
    # Casting NaN to an integer has another result in each runtime, so it is 0 everywhere.
    x = jnp.where(jnp.isnan(x), 0, x)
    return jnp.clip(jnp.round(x / node.unit), -node.bound, node.bound)


@accept_old_keywords
def step(
    graph: Sequence[nodes.Node],
    weights: Weights,
    states: dict[int, NeuronState],
    pixels: Float[Array, "B ..."],
    t: int,
    form: Form,
) -> Step:
    """Run step `t`; `states` is empty before the first."""
    outputs: list[Array] = []
    after: dict[int, NeuronState] = {}
    for number, node in enumerate(graph):
        match node:
            case nodes.Pixels():
                outputs.append(quantize_pixels(node, pixels))
            case nodes.Accumulator():
                outputs.append(_accumulate(graph, node, weights[number], outputs, t, form))
            case nodes.Spikes():
                current = outputs[node.accumulator]
                state = states.get(number) or node.neuron.start(current)
                fire = node.neuron.count if form == "counts" else node.neuron.fire_slots
                after[number], spikes = fire(state, current, t)
                outputs.append(spikes)
            case nodes.Product():
                outputs.append(_multiply_spikes(node, outputs, form))
            case nodes.LinearAttention():
                outputs.append(_attend(node, outputs, t, form))
    return Step(after, outputs)


def select_step(x: np.ndarray, t: int) -> np.ndarray:
    """Return the entries of `[1 or T, ...]` for step t."""
    return x[t if len(x) > 1 else 0]


def _accumulate(
    graph: Sequence[nodes.Node],
    node: nodes.Accumulator,
    weights: list[Array | None],
    outputs: Sequence[Array],
    t: int,
    form: Form,
) -> Array:
    """Return the current of an accumulator, `[B, ...]` int32."""
    parts = []
    for synapse, weight in zip(node.synapses, weights, strict=True):
        source, x = graph[synapse.source], outputs[synapse.source]
        if weight is not None:
            weight = weight[t if len(weight) > 1 else 0]
        match source:
            case nodes.Accumulator() | nodes.LinearAttention():
                parts.append(_read_current(synapse, weight, x))
            case nodes.Pixels():
                parts.append(_read_pixels(synapse, weight, x))
            case _:
                parts.append(_read_spikes(synapse, weight, x, source, form))
    bias = select_step(node.bias, t).astype(np.int32)
    shape = (outputs[0].shape[0], *node.shape)
    total = sum(parts[1:], parts[0]) + jnp.asarray(bias).reshape(
        (1,) * (len(shape) - bias.ndim) + bias.shape
    )
    return jnp.broadcast_to(total, shape)


def _read_current(synapse: nodes.Synapse, weight: Array | None, x: Array) -> Array:
    """Return the contribution of another current to an accumulator, in int32."""
    x = apply_structure(synapse.structure, x)
    if weight is None:
        return x
    if synapse.kind == "diagonal":
        return x * weight
    x = _round_off(x, synapse.shift)
    return _round_off(_apply_weight(synapse, x, weight), synapse.extra)


def _read_pixels(synapse: nodes.Synapse, weight: Array | None, x: Array) -> Array:
    """Return the contribution of pixels to an accumulator, in int32, summed exactly in float32."""
    x = apply_structure(synapse.structure, x)
    # x = high 2^HALF + low. Sums of whole pixels of 15 bits exceed 2^24, where float32 rounds; the
    # sums of each half do not (`compiler.units.EXTRA_BITS` has the inequality).
    high = jnp.floor(x / 2**HALF)
    halves = jnp.concatenate([high, x - high * 2**HALF])
    parts = _apply_weight(synapse, halves, _as_float(weight))
    high, low = jnp.split(parts.astype(jnp.int32), 2)
    return _round_off((high << HALF) + low, synapse.extra)


def _read_spikes(
    synapse: nodes.Synapse, weight: Array | None, x: Array, source: nodes.Node, form: Form
) -> Array:
    """Return the contribution of spikes to an accumulator, in int32.

    Every sum is below 2^24 (`nodes.EXACT`), so float32 represents it exactly, in any order.
    """
    weight = _as_float(weight)
    if form == "counts":
        x = apply_structure(synapse.structure, x.astype(jnp.float32))
        return _apply_weight(synapse, x, weight).astype(jnp.int32)
    slots, batch = x.shape[:2]
    x = apply_structure(synapse.structure, x.astype(jnp.float32).reshape(-1, *x.shape[2:]))
    each = _apply_weight(synapse, x, weight)
    each = each.reshape(slots, batch, *each.shape[1:])
    if isinstance(source, nodes.Spikes):
        # Each slot passes the weights on its own; its worth multiplies the result.
        worth = jnp.asarray(source.neuron.slots, jnp.float32)
        each = each * worth.reshape(-1, *(1,) * (each.ndim - 1))
    return jnp.sum(each, axis=0).astype(jnp.int32)


def _as_float(weight: Array | None) -> Array | None:
    return None if weight is None else weight.astype(jnp.float32)


def _round_off(x: Array, bits: int) -> Array:
    """Return round(x / 2^bits), half up."""
    return (x + (1 << bits >> 1)) >> bits


def _apply_weight(synapse: nodes.Synapse, x: Array, weight: Array | None) -> Array:
    """Apply the weights of one step to x `[B, ...]`; without weights return x."""
    # By default a TPU or GPU multiplies float32 with fewer bits.
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


def _pool(x: Array, structure: Sequence[Structure], form: Form) -> Array:
    """Apply max-pools to counts `[B, ...]` or to slots `[D, B, ...]`."""
    if form == "counts":
        return apply_structure(structure, x)
    each = apply_structure(structure, x.reshape(-1, *x.shape[2:]))
    return each.reshape(*x.shape[:2], *each.shape[1:])


def _multiply_spikes(node: nodes.Product, outputs: Sequence[Array], form: Form) -> Array:
    first, second = (
        _pool(outputs[source], structure, form)
        for source, structure in zip((node.first, node.second), node.pools, strict=True)
    )
    if form == "counts":
        return first * (1 - second if node.silent else second)
    if node.silent:
        return first * (1 - second)
    # (sum_i x_i) (sum_j y_j) = sum_ij x_i y_j: each slot of one with each slot of the other.
    both = first[:, None] * second[None]
    return both.reshape(-1, *both.shape[2:])


def _attend(node: nodes.LinearAttention, outputs: Sequence[Array], t: int, form: Form) -> Array:
    def split_heads(source: int) -> Array:
        x = outputs[source].astype(jnp.int32)
        x = x if form == "slots" else x[None]
        return x.reshape(*x.shape[:2], -1, node.heads, x.shape[-1] // node.heads)

    # Axes: slots d and e, sample b, token n, head h, channel c of queries and keys, f of values.
    # keyᵀ value comes first, as in the trained network: nothing has the size of tokens².
    query, key, value = map(split_heads, (node.query, node.key, node.value))
    weight = jnp.asarray(select_step(node.weight, t)).reshape(1, node.heads, -1, 1)
    products = jnp.einsum("dbnhc,ebnhf->bhcf", key, value)
    sums = jnp.einsum("dbnhc,bhcf->bnhf", query, products * weight)
    return sums.reshape(sums.shape[0], *node.shape)


@accept_old_keywords
def run(
    graph: Sequence[nodes.Node],
    weights: Weights,
    x: Float[Array, "..."],
    num_steps: int,
    form: Form,
    show: Callable[[list[Array]], Any],
) -> list[Any]:
    """Run all steps for images or frames `x`; return `show(outputs)` of each."""
    states: dict[int, NeuronState] = {}
    results = []
    for t in range(num_steps):
        frame = x if x.shape[1:] == graph[0].shape else x[:, t]
        states, outputs = step(graph, weights, states, frame, t, form)
        results.append(show(outputs))
    return results


serve_old_names(__name__)
