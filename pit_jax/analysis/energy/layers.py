"""The cost of a layer: operations, bit operations, bits moved, and the energy of each."""

from dataclasses import dataclass

from pit_jax.analysis.energy.codes import BINARY_CODE, Code
from pit_jax.analysis.energy.counts import Counts, Neurons
from pit_jax.analysis.energy.prices import Bits, Memory, Number, Picojoules
from pit_jax.analysis.energy.synapses import Synapses
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Prices:
    """All that turns counts into energy."""

    bits: Bits
    picojoules: Picojoules
    memory: Memory


@dataclass(frozen=True)
class Operations:
    """Of one sample, in the mean: `accumulations` add a weight for a spike, `additions` all else.

    `comparisons` are those with thresholds, and where two spikes are combined.
    """

    macs: Number = 0.0
    accumulations: Number = 0.0
    multiplications: Number = 0.0
    additions: Number = 0.0
    comparisons: Number = 0.0

    def energy(self, picojoules: Picojoules) -> Number:
        """In pJ."""
        return (
            self.macs * picojoules.mac
            + (self.accumulations + self.additions + self.comparisons) * picojoules.ac
            + self.multiplications * picojoules.multiply
        )


@dataclass(frozen=True)
class BitTraffic:
    """Bits that are read or written, and how many are stored where they lie."""

    moved: Number = 0.0
    stored: Number = 0.0

    def energy(self, memory: Memory) -> Number:
        """In pJ."""
        return self.moved * memory.per_bit(self.stored)


@dataclass(frozen=True)
class Traffic:
    """Bits of weights, of membranes and other sums, and of spikes, pixels or activations.

    No value is kept for a second use: each accumulation reads a weight, and reads and writes a
    membrane; each product reads both factors.
    """

    weights: BitTraffic = BitTraffic()
    membranes: BitTraffic = BitTraffic()
    activations: BitTraffic = BitTraffic()

    @property
    def moved(self) -> Number:
        """All bits together."""
        return self.weights.moved + self.membranes.moved + self.activations.moved

    def energy(self, memory: Memory) -> Number:
        """In pJ."""
        parts = self.weights, self.membranes, self.activations
        return sum(part.energy(memory) for part in parts)


@dataclass(frozen=True)
class LayerEnergy:
    """One row of a report, for one sample in the mean; energies in pJ.

    `bit_budget` is T · weight bits · spike bits (Shen et al. 2024), `s_ace` the products of the
    layer as its shapes have them times that, and `ns_ace` its accumulations times the weight bits.
    """

    path: str
    kind: str
    source: str
    operations: Operations
    traffic: Traffic
    energy: Number
    memory_energy: Number
    bit_budget: int = 0
    s_ace: Number = 0.0
    ns_ace: Number = 0.0


def price_layer(layer: Synapses | Neurons, counts: Counts, prices: Prices) -> LayerEnergy:
    """The layer as it runs: each spike adds, in each of T steps."""
    if isinstance(layer, Neurons):
        return _price_neurons(layer, counts, prices)
    if layer.kind in ("conv", "linear", "shortcut") and layer.reads == "spikes":
        return _price_spikes(layer, counts, prices)
    return _price_other(layer, counts.code, layer.steps, prices)


def price_twin(layer: Synapses | Neurons, prices: Prices) -> LayerEnergy:
    """The layer where neurons are activations of D levels, in ⌈log₂(D+1)⌉ bits, and T is 1.

    It is dense, and activations of one level are added rather than multiplied. Sources that the
    same weights read are added first, and an activation takes one product, for its scale, and two
    comparisons, with 0 and D.
    """
    bits = prices.bits
    if isinstance(layer, Neurons):
        n = float(layer.neurons)
        stored = n * BINARY_CODE.slots(layer.levels)
        return _price(
            layer,
            Operations(multiplications=n, comparisons=2 * n),
            Traffic(activations=BitTraffic(stored, stored)),
            prices,
        )
    if layer.kind not in ("conv", "linear", "shortcut") or layer.reads != "spikes":
        return _price_other(layer, BINARY_CODE, 1, prices)
    width = BINARY_CODE.slots(layer.levels)
    stored = layer.inputs * width
    if layer.stream:
        added = Operations(additions=layer.inputs)
        return _price(layer, added, Traffic(activations=BitTraffic(stored, stored)), prices)
    dense = float(layer.connections)
    macs, accumulations = (dense, 0) if layer.levels > 1 else (0, dense)
    budget = bits.weight * width
    return _price(
        layer,
        Operations(macs, accumulations, additions=layer.biases),
        Traffic(
            weights=BitTraffic(dense * bits.weight, layer.weights * bits.weight),
            activations=BitTraffic(dense * width, stored),
        ),
        prices,
        budget,
        layer.macs * budget,
        layer.macs * budget,
    )


def _price_spikes(layer: Synapses, counts: Counts, prices: Prices) -> LayerEnergy:
    bits, slots = prices.bits, counts.code.slots(layer.levels)
    accumulations = layer.accumulations / counts.samples
    spikes = layer.spikes / counts.samples
    budget = layer.steps * bits.weight * slots
    return _price(
        layer,
        Operations(accumulations=accumulations, additions=layer.biases * layer.steps),
        Traffic(
            BitTraffic(accumulations * bits.weight, layer.weights * layer.copies * bits.weight),
            BitTraffic(2 * accumulations * bits.membrane, layer.outputs * bits.membrane),
            BitTraffic(spikes * _address(layer.inputs), layer.inputs * slots),
        ),
        prices,
        budget,
        layer.macs * budget,
        accumulations * bits.weight if layer.macs else 0.0,
    )


def _price_neurons(layer: Neurons, counts: Counts, prices: Prices) -> LayerEnergy:
    n, each, slots = layer.neurons, layer.operations, counts.code.slots(layer.levels)
    spikes = layer.spikes / counts.samples
    membranes = n * prices.bits.membrane
    return _price(
        layer,
        Operations(
            multiplications=each.multiplications * n,
            additions=each.additions * n + (spikes if each.subtracts else 0.0),
            comparisons=each.comparisons * n,
        ),
        Traffic(
            # Read in each step, and written if there is another.
            membranes=BitTraffic((2 * layer.steps - 1) * membranes, membranes),
            activations=BitTraffic(spikes * _address(n), n * slots),
        ),
        prices,
    )


def _price_other(layer: Synapses, code: Code, steps: int, prices: Prices) -> LayerEnergy:
    """Pixels and currents, which are multiplied densely or passed on, and products of spikes."""
    bits, connections = prices.bits, float(layer.connections * steps)
    outputs = float(layer.outputs * bits.membrane)
    if layer.kind == "product":
        gates = Operations(comparisons=connections * code.slots(layer.levels))
        return _price(layer, gates, Traffic(), prices)
    if layer.kind == "current":
        added = Operations(additions=connections + layer.biases * steps)
        return _price(
            layer,
            added,
            Traffic(membranes=BitTraffic(3 * connections * bits.membrane, outputs)),
            prices,
        )
    width = bits.pixel if layer.reads == "pixels" else bits.membrane
    budget = steps * bits.weight * width
    stored = layer.weights * layer.copies * bits.weight
    return _price(
        layer,
        Operations(macs=connections, additions=layer.biases * steps),
        Traffic(
            BitTraffic(connections * bits.weight, stored),
            BitTraffic(steps * outputs, outputs),
            BitTraffic(connections * width, layer.inputs * width),
        ),
        prices,
        budget,
        layer.macs * budget,
        layer.macs * budget,
    )


def _price(
    layer: Synapses | Neurons,
    operations: Operations,
    traffic: Traffic,
    prices: Prices,
    bit_budget: int = 0,
    s_ace: Number = 0,
    ns_ace: Number = 0,
) -> LayerEnergy:
    return LayerEnergy(
        layer.path,
        "neurons" if isinstance(layer, Neurons) else layer.kind,
        "" if isinstance(layer, Neurons) else layer.source or layer.reads,
        operations,
        traffic,
        operations.energy(prices.picojoules),
        traffic.energy(prices.memory),
        bit_budget,
        float(s_ace),
        float(ns_ace),
    )


def _address(places: int) -> int:
    """The bits that tell one of so many places."""
    return max(1, (places - 1).bit_length())


serve_old_names(__name__)
