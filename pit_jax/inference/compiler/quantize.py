"""The folded network in integers: every sum that can occur is exact in float32.

An accumulator counts in a unit of its own, a power of two as long as weights enter it, so large
that no sum of its weights can reach 2^24: one for each channel if only a neuron reads it, one for
all of those that pass their currents on to one another.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pit_jax.inference.compiler.bounds import Sides, one_each
from pit_jax.inference.compiler.folded import (
    Accumulator,
    Conv,
    Dense,
    LinearAttention,
    Node,
    Pixels,
    Product,
    Spikes,
    Synapse,
    Value,
)
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import CODES, fix
from pit_jax.inference.runtime.reductions import Pool, Structure

# Below it float32 has every integer, and every sum of them.
EXACT = 2**24
# Products of pixels, or of currents, are summed in so many bits more, and rounded.
EXTRA_BITS = 7
PIXEL_BITS = 15
_BITS = {"float32": None, "int16": 16, "int8": 8}


def on_grid(
    folded: Sequence[Node],
    num_steps: int,
    *,
    largest_input: float,
    weights: str = "float32",
    code: str = "thermometer",
) -> list[nodes.Node]:
    """The nodes of `folded` in integers, for inputs of at most `largest_input`.

    `weights` is `float32`, or `int8` or `int16` for a coarser unit that makes them fit; `code` is
    `thermometer` or `bitwise`, which raises NotFoldable where slots meet a maximum or a product.
    """
    if code not in CODES:
        raise ValueError(f"code is {code!r}; it can be {', '.join(CODES)}.")
    if weights not in _BITS:
        raise ValueError(f"weights is {weights!r}; it can be {', '.join(_BITS)}.")
    if not 0 < largest_input < math.inf:
        raise ValueError(f"largest_input must be a number above 0, got {largest_input}.")
    graph = _Grid(folded, num_steps, largest_input, _BITS[weights], code).nodes
    nodes.check_code(graph)
    return graph


class _Grid:
    def __init__(
        self,
        folded: Sequence[Node],
        num_steps: int,
        largest_input: float,
        bits: int | None,
        code: str,
    ) -> None:
        self.folded, self.steps, self.bits, self.code = folded, num_steps, bits, code
        self.pixel_unit = 2.0 ** (math.ceil(math.log2(largest_input)) - PIXEL_BITS)
        self.largest_input = largest_input
        # Over time a membrane adds up: it shall stay an int32.
        self.limit = min(EXACT, 2**29 // num_steps)
        self.groups = self._groups()
        self.exponents = self._exponents()
        self.nodes: list[nodes.Node] = []
        while not self._fill():
            pass

    def _fill(self) -> bool:
        """Writes the nodes; where rounded weights reach further than the real ones did, it ends
        with less fine units and False."""
        self.nodes = []
        for number, node in enumerate(self.folded):
            self.nodes.append(made := self._integer(number, node))
            if number in self.groups and np.any(beyond := self.sides.each >= self.limit):
                exponents = self.exponents[self.groups[number]]
                exponents -= beyond if exponents.size > 1 else 1
                return False
            if isinstance(made, nodes.Accumulator) and made.bound >= 2**29 // self.steps:
                (source,) = (synapse.source for synapse in made.synapses)
                if source not in self.groups:
                    raise NotFoldable(
                        f"the sums at {made.path} can reach {made.bound}: too much for int32."
                    )
                self.exponents[self.groups[source]] -= 1
                return False
        return True

    # In real numbers: how large a value of each node can be.

    def _real_sums(self) -> dict[int, Sides]:
        """How far the sums of each accumulator that weights enter can go."""
        bounds: list[float] = []
        sums: dict[int, Sides] = {}
        for number, node in enumerate(self.folded):
            match node:
                case Pixels():
                    bounds.append(self.largest_input + self.pixel_unit)
                case Spikes():
                    bounds.append(float(node.firing.levels))
                case Product():
                    bounds.append(bounds[node.first] * (1 if node.silent else bounds[node.second]))
                case LinearAttention():
                    bounds.append(_attended(node, bounds, self._tokens(node)))
                case Accumulator():
                    sides = self._real_sum(node.value, bounds)
                    bounds.append(sides.largest)
                    if number in self.groups:
                        sums[number] = sides
        return sums

    def _real_sum(self, value: Value, bounds: Sequence[float]) -> Sides:
        sides = Sides(_largest(value.bias))
        for term in value.synapses:
            bound = bounds[term.source] * _growth(term.structure)
            if term.weight is not None:
                kernel = term.weight.kernel
            elif term.mixing is not None:
                kernel = np.swapaxes(term.mixing, 1, 2) * term.gain[:, None, :]
            else:
                kernel = one_each(term.gain)
            sides += Sides.of(kernel, bound, self._both_signs(term.source))
        return sides

    def _both_signs(self, source: int) -> bool:
        """Whether what a node gives can be below 0."""
        match self.folded[source]:
            case Spikes() as spikes:
                return spikes.firing.signed
            case Product() as product:
                return self._both_signs(product.first) or (
                    not product.silent and self._both_signs(product.second)
                )
        return True

    def _tokens(self, node: LinearAttention) -> int:
        return math.prod(node.shape[:-1])

    def _groups(self) -> dict[int, int]:
        """The accumulators that weights enter, each with the first of its chain: they share a
        unit."""
        group = list(range(len(self.folded)))

        def root(i: int) -> int:
            return i if group[i] == i else root(group[i])

        weighed = [i for i, node in enumerate(self.folded) if self._is_weighed(node)]
        for i in weighed:
            for term in self._value(i).synapses:
                if self._passes(term) and isinstance(self.folded[term.source], Accumulator):
                    group[root(i)] = root(term.source)
        return {i: root(i) for i in weighed}

    def _exponents(self) -> dict[int, np.ndarray]:
        """The finest unit 2^-p, as p `[1 or C]`, in which the sums of each chain may fit."""
        exponents: dict[int, np.ndarray] = {}
        for i, real in self._real_sums().items():
            p = np.floor(np.log2(self.limit / np.maximum(real.each, 1e-30)))
            if self.bits:
                p = np.minimum(p, self._fitting(i, self.bits))
            if not self._is_alone(i):
                p = p.min(keepdims=True)
            group = self.groups[i]
            exponents[group] = np.minimum(p, exponents.get(group, p)).astype(int)
        return exponents

    def _is_alone(self, i: int) -> bool:
        """Whether all that reads an accumulator is a neuron whose channels are apart."""
        for node in self.folded:
            match node:
                case Spikes() if node.accumulator == i and node.firing.mixing is not None:
                    return False
                case Accumulator() if any(term.source == i for term in node.value.synapses):
                    return False
        chain = sum(group == self.groups[i] for group in self.groups.values())
        return chain == 1 and i < len(self.folded) - 1

    def _value(self, i: int) -> Value:
        node = self.folded[i]
        assert isinstance(node, Accumulator)
        return node.value

    def _is_weighed(self, node: Node) -> bool:
        """Not only the current of another, with a gain: that is the other's with another unit."""
        return isinstance(node, Accumulator) and not self._is_rescaled(node.value)

    def _is_rescaled(self, value: Value) -> bool:
        if len(value.synapses) > 1:
            return False
        (term,) = value.synapses
        return term.weight is None and self._is_current(term.source)

    def _is_current(self, source: int) -> bool:
        return isinstance(self.folded[source], Accumulator | LinearAttention)

    def _passes(self, term: Synapse) -> bool:
        return term.weight is None and self._is_current(term.source)

    def _fitting(self, i: int, bits: int) -> np.ndarray:
        """The p `[1 or C]` with which the largest weight is the largest that so many bits hold."""
        largest = np.full(1, 1e-30)
        for term in self._value(i).synapses:
            if term.weight is not None:
                pixels = isinstance(self.folded[term.source], Pixels)
                unit = self.pixel_unit * 2**EXTRA_BITS if pixels else 1.0
                largest = np.maximum(largest, _largest(term.weight.kernel) * unit)
            elif not self._is_current(term.source):
                largest = np.maximum(largest, _largest(_gain_or_mixing(term)))
        return np.floor(np.log2((2 ** (bits - 1) - 1) / largest))

    # In integers.

    def _integer(self, number: int, node: Node) -> nodes.Node:
        match node:
            case Pixels():
                bound = math.ceil(self.largest_input / self.pixel_unit)
                return nodes.Pixels(self.pixel_unit, bound, node.shape)
            case Product():
                return nodes.Product(**vars(node))
            case Spikes():
                at = self.nodes[node.accumulator]
                assert isinstance(at, nodes.Accumulator | nodes.LinearAttention)
                neuron = fix(node.firing, at.unit, at.bound, self.steps, self.code)
                return nodes.Spikes(node.accumulator, neuron, node.shape, node.path)
            case LinearAttention():
                return self._attended(node)
            case Accumulator():
                if self._is_rescaled(node.value):
                    return self._rescaled(node)
                return self._summed(node, self.exponents[self.groups[number]])

    def _summed(self, node: Accumulator, exponents: np.ndarray) -> nodes.Accumulator:
        unit = 2.0 ** -exponents[None].astype(np.float64)
        synapses = [self._synapse(term, unit, node.path) for term in node.value.synapses]
        bias = np.rint(node.value.bias / unit)
        self.sides = sum(map(self._reach, synapses), Sides(_largest(bias)))
        return nodes.Accumulator(
            tuple(synapses),
            bias.astype(np.int32),
            unit,
            int(self.sides.largest),
            node.value.shape,
            node.path,
        )

    def _rescaled(self, node: Accumulator) -> nodes.Accumulator:
        """The current of another accumulator with a gain: the gain is in the unit, for nothing."""
        (term,) = node.value.synapses
        source = self.nodes[term.source]
        assert isinstance(source, nodes.Accumulator | nodes.LinearAttention)
        gain = term.gain
        if term.mixing is not None or gain.ndim > 2:
            raise NotFoldable(f"{node.path} has another scale of a current at each place.")
        sign = np.sign(gain)
        unit = source.unit * np.where(gain == 0, 1, abs(gain))
        kind, weight = ("pass", None) if np.all(sign == 1) else ("diagonal", sign.astype(np.int32))
        synapse = nodes.Synapse(term.source, term.structure, weight, kind, node.path)
        bias = np.rint(node.value.bias / unit).astype(np.int32)
        bound = source.bound * _growth(term.structure) + int(abs(bias).max())
        return nodes.Accumulator((synapse,), bias, unit, bound, node.value.shape, node.path)

    def _synapse(self, term: Synapse, unit: np.ndarray, path: str) -> nodes.Synapse:
        source = self.nodes[term.source]
        path = term.path or path
        if self._passes(term):
            assert isinstance(source, nodes.Accumulator | nodes.LinearAttention)
            if np.any(term.gain != 1) or np.any(source.unit != unit):
                raise NotFoldable(
                    f"{path} adds a current that is scaled to others; scale it in a norm behind "
                    "the sum."
                )
            if any(not (isinstance(s, Pool) and s.largest) for s in term.structure):
                raise NotFoldable(f"{path} adds a current that was summed over space to others.")
            return nodes.Synapse(term.source, term.structure, None, "pass", path)
        blank = nodes.Synapse(term.source, term.structure, None, "diagonal", path)
        if isinstance(source, nodes.Pixels):
            fine = unit / 2**EXTRA_BITS / source.unit
            return replace(_with_weights(blank, term, fine), extra=EXTRA_BITS)
        if not self._is_current(term.source):
            return _with_weights(blank, term, unit)
        assert isinstance(source, nodes.Accumulator | nodes.LinearAttention)
        # Weights and currents share the bits that a product has.
        bits = math.log2(max(source.bound, 2)) / 2
        shift = max(0, round(bits) - EXTRA_BITS // 2)
        if source.unit.size > 1:
            raise NotFoldable(f"{path} multiplies a current whose channels have their own units.")
        fine = unit / 2**EXTRA_BITS / (float(source.unit.max()) * 2**shift)
        return replace(_with_weights(blank, term, fine), shift=shift, extra=EXTRA_BITS)

    def _reach(self, synapse: nodes.Synapse) -> Sides:
        """The largest sums that the weights of one source can give."""
        bound = self._count(synapse.source) * _growth(synapse.structure)
        if synapse.weight is None:
            return Sides(bound)
        weight = one_each(synapse.weight) if synapse.kind == "diagonal" else synapse.weight
        bound = (bound >> synapse.shift) + (synapse.shift > 0)
        sides = Sides.of(weight, bound, self._both_signs(synapse.source))
        if not synapse.extra:
            return sides
        return Sides(*(side // 2**synapse.extra + 1 for side in (sides.up, sides.down)))

    def _count(self, source: int) -> int:
        node = self.nodes[source]
        match node:
            case nodes.Spikes():
                return node.neuron.levels
            case nodes.Product():
                return self._count(node.first) * (1 if node.silent else self._count(node.second))
            case _:
                return node.bound

    def _attended(self, node: LinearAttention) -> nodes.LinearAttention:
        counts = [self._count(s) for s in (node.query, node.key, node.value)]
        channels = node.weight.shape[-1] // node.heads
        terms = math.prod(counts) * self._tokens(node) * channels
        largest = float(abs(node.weight).max())
        exponent = math.floor(math.log2(min(EXACT, 2**29 // self.steps) / terms / largest))
        weight = np.rint(node.weight * 2.0**exponent).astype(np.int32)
        return nodes.LinearAttention(
            node.query,
            node.key,
            node.value,
            node.heads,
            weight,
            np.full((1, 1), 2.0**-exponent),
            terms * int(abs(weight).max()),
            node.shape,
            node.path,
        )


def _with_weights(blank: nodes.Synapse, term: Synapse, unit: np.ndarray) -> nodes.Synapse:
    match term.weight:
        case Conv() as conv:
            return replace(
                blank,
                weight=_rounded(conv.kernel / unit),
                kind="conv",
                strides=conv.strides,
                padding=conv.padding,
                groups=conv.groups,
            )
        case Dense() as dense:
            return replace(blank, weight=_rounded(dense.kernel / unit), kind="dense")
    if term.mixing is None:
        return replace(blank, weight=_rounded(term.gain / unit))
    kernel = np.swapaxes(term.mixing, 1, 2) * term.gain[:, None, :]
    return replace(blank, weight=_rounded(kernel / unit), kind="dense")


def _rounded(x: np.ndarray) -> np.ndarray:
    return np.rint(x).astype(np.int32)


def _largest(x: np.ndarray) -> np.ndarray:
    """The largest size in each channel, the last axis."""
    channels: np.ndarray = abs(x).reshape(-1, x.shape[-1]).max(0)
    return channels


def _growth(structure: Sequence[Structure]) -> int:
    return math.prod(step.growth() for step in structure)


def _gain_or_mixing(term: Synapse) -> np.ndarray:
    return term.gain if term.mixing is None else term.mixing


def _attended(node: LinearAttention, bounds: Sequence[float], tokens: int) -> float:
    largest = float(abs(node.weight).max()) * node.weight.shape[-1] // node.heads
    return bounds[node.query] * bounds[node.key] * bounds[node.value] * tokens * largest
