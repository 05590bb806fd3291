"""The folded network in integers: every sum that can occur is exact, in any order.

Each accumulator counts in its own unit, 2^-p if weights enter it (`units`). Weights and biases are
rounded to integers in this unit:

    sum_i w_i k_i + b  ~  2^-p (sum_i round(w_i 2^p) k_i + round(b 2^p)).

The sum in parentheses is an integer below 2^24. float32 represents all of its partial sums exactly,
so a convolution gives the same bits in any order and on any device. Neurons then compare, reset and
leak in int32 (`quantize_neuron`).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.bounds import (
    Sides,
    bound_synapse,
    cast_int32,
    find_largest,
    is_signed,
    measure_growth,
)
from pit_jax.inference.compiler.quantize_neuron import MembraneTooLarge, quantize_neuron
from pit_jax.inference.compiler.units import (
    EXTRA_BITS,
    MOST_OVER_TIME,
    Units,
    choose_units,
    is_current,
    is_rescaling,
    passes_current,
)
from pit_jax.inference.errors import NotFoldable
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import CODES
from pit_jax.inference.runtime.reductions import Pool
from pit_jax.old_names import serve_old_names

# A layer whose sums have too few bits falls silent without an error. Therefore a unit is not made
# coarser once the largest sum in it is below 2^FEWEST_BITS, and rounding may change a weight of an
# attention by at most MOST_ROUNDING times the largest weight.
FEWEST_BITS = 8
MOST_ROUNDING = 1 / 16

_BITS = {"float32": None, "int16": 16, "int8": 8}


def quantize(
    graph: Sequence[folded.Node],
    num_steps: int,
    *,
    largest_input: float,
    weights: str = "float32",
    code: str = "thermometer",
) -> list[nodes.Node]:
    """Return a folded network in integers, for inputs of at most `largest_input`.

    `weights` is `float32`, or `int8` or `int16` for units so coarse that all weights fit. `code` is
    `thermometer` or `bitwise`; the second raises NotFoldable before a maximum or a product.
    """
    if code not in CODES:
        raise ValueError(f"code is {code!r}; it can be {', '.join(CODES)}.")
    if weights not in _BITS:
        raise ValueError(f"weights is {weights!r}; it can be {', '.join(_BITS)}.")
    if not 0 < largest_input < math.inf:
        raise ValueError(f"largest_input must be a number above 0, got {largest_input}.")
    units = choose_units(graph, num_steps, largest_input, _BITS[weights])
    # Each failed attempt has made one unit in `units` coarser.
    while not (quantizer := _Quantizer(graph, num_steps, units, code)).write():
        pass
    _check_code(quantizer.nodes)
    return quantizer.nodes


class _Quantizer:
    """One attempt to write a folded network in integers; `nodes` has those written so far."""

    def __init__(
        self, graph: Sequence[folded.Node], num_steps: int, units: Units, code: str
    ) -> None:
        self.graph, self.num_steps, self.units, self.code = graph, num_steps, units, code
        self.nodes: list[nodes.Node] = []

    def write(self) -> bool:
        """Write all nodes and return True, or make one unit coarser and return False.

        The units were chosen for weights in real numbers, |sum_i w_i k_i| 2^p <= limit. Rounding
        can enlarge each |w_i| 2^p by 1/2, so that a sum of many weights exceeds the limit;
        therefore the integer sums are bounded again. Each failed attempt lowers some p by 1, so
        attempts end.
        """
        for number, node in enumerate(self.graph):
            match node:
                case folded.Accumulator() if is_rescaling(self.graph, node.value):
                    if (rescaled := self._rescale(node)) is None:
                        return False
                    self.nodes.append(rescaled)
                case folded.Spikes():
                    if (spikes := self._quantize_spikes(node)) is None:
                        return False
                    self.nodes.append(spikes)
                case folded.Accumulator():
                    exponents = self.units.exponents[self.units.group[number]]
                    accumulator, sides = self._accumulate(node, exponents)
                    self.nodes.append(accumulator)
                    if np.any(beyond := sides.each >= self.units.limit):
                        # In place, for the next attempt; only in the channels that exceed it, if
                        # each channel has its own unit.
                        exponents -= beyond if exponents.size > 1 else 1
                        return False
                case _:
                    self.nodes.append(self._quantize(node))
        return True

    def _coarsen(self, source: int, problem: str) -> None:
        """Make the unit of a current coarser by one bit.

        A rescaled current counts in a multiple of its source's unit, so the source's unit is
        changed. Raises NotFoldable with `problem` for attention, and if too few bits would be left.
        """
        while source not in self.units.group:
            node = self.graph[source]
            if not isinstance(node, folded.Accumulator):
                raise NotFoldable(
                    f"{problem}, and the attention before it has no coarser unit.",
                    "Use lower levels, or bring the scales after it closer together, with 0 for "
                    "those near 0.",
                )
            source = node.value.synapses[0].source
        if self._current(source).bound < 2**FEWEST_BITS:
            raise NotFoldable(
                f"{problem}. A coarser unit would leave sums of fewer than {FEWEST_BITS} bits.",
                "Bring the scales of its channels and steps closer together, or set those near 0 "
                "to 0.",
            )
        self.units.exponents[self.units.group[source]] -= 1

    def _quantize_spikes(self, node: folded.Spikes) -> nodes.Spikes | None:
        """Return a layer of neurons, or None after making the unit of its current coarser."""
        at = self._current(node.accumulator)
        try:
            neuron = quantize_neuron(node.firing, at.unit, at.bound, self.num_steps, self.code)
        except MembraneTooLarge as error:
            self._coarsen(node.accumulator, f"{node.path}: {error.problem}")
            return None
        return nodes.Spikes(node.accumulator, neuron, node.shape, node.path)

    def _quantize(self, node: folded.Node) -> nodes.Node:
        match node:
            case folded.Pixels():
                bound = math.ceil(self.units.largest_input / self.units.pixel)
                return nodes.Pixels(self.units.pixel, bound, node.shape)
            case folded.Product():
                return nodes.Product(**vars(node))
            case folded.LinearAttention():
                return self._quantize_attention(node)
        raise TypeError(node)

    def _current(self, source: int) -> nodes.Accumulator | nodes.LinearAttention:
        node = self.nodes[source]
        assert isinstance(node, nodes.Accumulator | nodes.LinearAttention)
        return node

    def _accumulate(
        self, node: folded.Accumulator, exponents: np.ndarray
    ) -> tuple[nodes.Accumulator, Sides]:
        """Return an accumulator in units of 2^-exponents, and the bounds of its sums."""
        unit = 2.0 ** -exponents[None].astype(np.float64)
        synapses = [self._quantize_synapse(s, unit, node.path) for s in node.value.synapses]
        bias = np.rint(node.value.bias / unit)
        sides = Sides(find_largest(bias))
        for synapse in synapses:
            signed = is_signed(self.graph, synapse.source)
            sides += bound_synapse(synapse, self._count(synapse.source), signed)
        bound = int(sides.largest)
        bias = cast_int32(bias, f"the bias at {node.path}")
        return (
            nodes.Accumulator(tuple(synapses), bias, unit, bound, node.value.shape, node.path),
            sides,
        )

    def _rescale(self, node: folded.Accumulator) -> nodes.Accumulator | None:
        """Return the current of another accumulator times a gain g.

        With x = unit k, g x = (|g| unit) (sign(g) k): the gain moves into the unit, so nothing is
        multiplied or rounded. Returns None after making the unit of the other one coarser.
        """
        (synapse,) = node.value.synapses
        source, gain = self._current(synapse.source), synapse.gain
        if synapse.mixing is not None or gain.ndim > 2:
            raise NotFoldable(
                f"{node.path} scales a current differently at different positions.",
                "Scale each channel by one number.",
            )
        sign = np.sign(gain)
        # Where g is 0 the integers are 0 too, and any unit is correct.
        unit = source.unit * np.where(gain == 0, 1, abs(gain))
        # In the unit of a gain near 0 a bias is a large integer. Membranes add up T currents
        # |sign(g) k + bias| <= bound, so T bound must stay below 2^29; then the bias is an int32.
        bias = np.rint(node.value.bias / unit)
        bound = source.bound * measure_growth(synapse.structure) + int(abs(bias).max())
        if bound >= MOST_OVER_TIME // self.num_steps:
            self._coarsen(
                synapse.source,
                f"{node.path} adds a shift to a current that is scaled by as little as "
                f"{abs(gain[gain != 0]).min(initial=1):.3g}, whose sums are too large for int32",
            )
            return None
        kind, weight = ("pass", None) if np.all(sign == 1) else ("diagonal", sign.astype(np.int32))
        passed = nodes.Synapse(synapse.source, synapse.structure, weight, kind, node.path)
        bias = cast_int32(bias, f"the bias at {node.path}")
        return nodes.Accumulator((passed,), bias, unit, bound, node.value.shape, node.path)

    def _quantize_synapse(
        self, synapse: folded.Synapse, unit: np.ndarray, path: str
    ) -> nodes.Synapse:
        """Return integer weights for an accumulator that counts in `unit`.

        Counts of spikes have no unit: their weights are round(w / unit). Pixels and currents count
        in units of their own, so their weights are round(w source_unit / unit). Sums of such
        products have EXTRA_BITS more bits than the accumulator and are rounded once, as a whole.
        """
        path = synapse.path or path
        if passes_current(self.graph, synapse):
            return self._pass_current(synapse, unit, path)
        blank = nodes.Synapse(synapse.source, synapse.structure, None, "diagonal", path)
        source = self.nodes[synapse.source]
        if isinstance(source, nodes.Pixels):
            fine = unit / 2**EXTRA_BITS / source.unit
            return replace(_round_weights(blank, synapse, fine), extra=EXTRA_BITS)
        if not is_current(self.graph, synapse.source):
            return _round_weights(blank, synapse, unit)
        current = self._current(synapse.source)
        if current.unit.size > 1:
            raise NotFoldable(
                f"{path} multiplies a current whose channels have their own units.",
                "Put a neuron between them.",
            )
        # The sum of products has at most 24 + EXTRA_BITS = 31 bits, which the current (b bits) and
        # the weight share: about b / 2 bits of the current are rounded off, and the weight gains
        # as many.
        bits = math.log2(max(current.bound, 2)) / 2
        shift = max(0, round(bits) - EXTRA_BITS // 2)
        fine = unit / 2**EXTRA_BITS / (float(current.unit.max()) * 2**shift)
        return replace(_round_weights(blank, synapse, fine), shift=shift, extra=EXTRA_BITS)

    def _pass_current(self, synapse: folded.Synapse, unit: np.ndarray, path: str) -> nodes.Synapse:
        """Return a synapse that adds a current as it is; both must count in the same unit."""
        if np.any(synapse.gain != 1) or np.any(self._current(synapse.source).unit != unit):
            raise NotFoldable(
                f"{path} adds a current that is scaled to others.",
                "Scale it in a norm after the sum.",
            )
        if any(not (isinstance(s, Pool) and s.largest) for s in synapse.structure):
            raise NotFoldable(
                f"{path} adds a current that was summed over space to others.",
                "Pool spikes instead of currents: put the pool after the neuron.",
            )
        return nodes.Synapse(synapse.source, synapse.structure, None, "pass", path)

    def _count(self, source: int) -> int:
        """Return the largest absolute value of a node's integers."""
        node = self.nodes[source]
        match node:
            case nodes.Spikes():
                return node.neuron.levels
            case nodes.Product():
                return self._count(node.first) * (1 if node.silent else self._count(node.second))
            case _:
                return node.bound

    def _quantize_attention(self, node: folded.LinearAttention) -> nodes.LinearAttention:
        """Return query (weight keyᵀ value) with integer weights.

        An output sums q w k v over all tokens and over the channels c of a head:

            |output| <= terms |w|,  terms = q k v tokens c  for the largest counts q, k and v.

        The weights are round(w 2^p) with the largest p for which terms |w| 2^p <= limit. Below 2^24
        a current of attention is exact in float32, which exported programs need, and below 2^29 / T
        membranes can add it up over time. Raises NotFoldable if p is so small that rounding changes
        a weight by more than MOST_ROUNDING times the largest; it never does once the largest
        integer weight is 2^4.
        """
        counts = [self._count(s) for s in (node.query, node.key, node.value)]
        channels = node.weight.shape[-1] // node.heads
        terms = math.prod(counts) * math.prod(node.shape[:-1]) * channels
        largest = float(abs(node.weight).max())
        exponent = math.floor(math.log2(self.units.limit / terms / largest))
        exact = node.weight * 2.0**exponent
        # terms |round(w 2^p)| <= limit must hold as well, so nothing is rounded up beyond it.
        most = self.units.limit // terms
        weight = np.clip(np.rint(exact), -most, most)
        if abs(weight - exact).max() > MOST_ROUNDING * abs(exact).max():
            raise NotFoldable(
                f"{node.path} sums {terms} products, whose weights of {largest:.3g} would be "
                f"rounded to {np.rint(abs(exact).max()):.0f} / 2^{exponent} to fit.",
                "Use fewer tokens, lower levels or more heads.",
            )
        weight = cast_int32(weight, f"a weight of {node.path}")
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


def _round_weights(
    blank: nodes.Synapse, synapse: folded.Synapse, unit: np.ndarray
) -> nodes.Synapse:
    """Return `blank` with the weights of `synapse` in units of `unit`."""

    def round_to_unit(x: np.ndarray) -> np.ndarray:
        return cast_int32(np.rint(x / unit), f"a weight of {blank.path}")

    match synapse.weight:
        case folded.Conv() as conv:
            return replace(
                blank,
                weight=round_to_unit(conv.kernel),
                kind="conv",
                strides=conv.strides,
                padding=conv.padding,
                groups=conv.groups,
            )
        case folded.Dense() as dense:
            return replace(blank, weight=round_to_unit(dense.kernel), kind="dense")
    if synapse.mixing is None:
        return replace(blank, weight=round_to_unit(synapse.gain))
    kernel = np.swapaxes(synapse.mixing, 1, 2) * synapse.gain[:, None, :]
    return replace(blank, weight=round_to_unit(kernel), kind="dense")


def _check_code(graph: Sequence[nodes.Node]) -> None:
    """Raise NotFoldable if a maximum or a product reads slots of different worth.

    A count is the sum of its slots times their worth. Weights are linear, so they may act on each
    slot separately. A maximum is not linear: of the counts 2 (slots 1 0) and 1 (slots 0 1), the
    maximum slot by slot is 1 1, which is 3.
    """

    def refuse(source: int, reader: str) -> None:
        node = graph[source]
        if isinstance(node, nodes.Spikes) and max(node.neuron.slots) > 1:
            raise NotFoldable(
                f"{reader} reads the slots of {node.path} one by one, which the bitwise code does "
                "not allow.",
                'Compile with code="thermometer".',
            )

    for node in graph:
        match node:
            case nodes.Accumulator():
                for synapse in node.synapses:
                    if any(isinstance(s, Pool) and s.largest for s in synapse.structure):
                        refuse(synapse.source, f"the max-pool before {synapse.path}")
            case nodes.Product():
                for source in (node.first, node.second):
                    refuse(source, f"the product {node.path}")
            case nodes.LinearAttention():
                for source in (node.query, node.key, node.value):
                    refuse(source, f"the attention {node.path}")


serve_old_names(__name__)
