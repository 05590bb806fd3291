"""The cost of a layer: operations, bit operations, bits moved, and their energy."""

from dataclasses import dataclass

from pit_jax.analysis.energy.codes import BINARY_CODE, Code
from pit_jax.analysis.energy.counts import Counts, Neurons
from pit_jax.analysis.energy.prices import Bits, Memory, Number, Picojoules
from pit_jax.analysis.energy.synapses import Synapses
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Prices:
    """The widths and prices that turn counts into energy."""

    bits: Bits
    picojoules: Picojoules
    memory: Memory


@dataclass(frozen=True)
class Operations:
    """The mean operations of one sample.

    `accumulations` add a weight for a spike; `additions` are all others, such as biases, resets and
    leaked membranes. `comparisons` are with thresholds, or combine two spikes.
    """

    macs: Number = 0.0
    accumulations: Number = 0.0
    multiplications: Number = 0.0
    additions: Number = 0.0
    comparisons: Number = 0.0

    def energy(self, picojoules: Picojoules) -> Number:
        """Return the energy in pJ."""
        return (
            self.macs * picojoules.mac
            # A comparison is a subtraction whose sign is read.
            + (self.accumulations + self.additions + self.comparisons) * picojoules.ac
            + self.multiplications * picojoules.multiply
        )


@dataclass(frozen=True)
class BitTraffic:
    """Bits that are read or written (`moved`), and the size of their memory (`stored`)."""

    moved: Number = 0.0
    stored: Number = 0.0

    def energy(self, memory: Memory) -> Number:
        """Return the energy in pJ."""
        return self.moved * memory.per_bit(self.stored)


@dataclass(frozen=True)
class Traffic:
    """Bits of weights, of membranes and other sums, and of spikes, pixels or activations.

    Nothing is cached: each accumulation reads a weight, and reads and writes a membrane; each
    product reads both factors.
    """

    weights: BitTraffic = BitTraffic()
    membranes: BitTraffic = BitTraffic()
    activations: BitTraffic = BitTraffic()

    @property
    def moved(self) -> Number:
        """All bits read or written."""
        return self.weights.moved + self.membranes.moved + self.activations.moved

    def energy(self, memory: Memory) -> Number:
        """Return the energy in pJ."""
        parts = self.weights, self.membranes, self.activations
        return sum(part.energy(memory) for part in parts)


@dataclass(frozen=True)
class LayerEnergy:
    """One row of a report: means of one sample, energies in pJ.

    `bit_budget` is T · weight bits · spike bits (Shen et al. 2024), `s_ace` the MACs of the layer's
    shapes times the budget, and `ns_ace` its accumulations times the weight bits.
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
    """Return the cost of a layer as it runs, T steps with an accumulation per spike and synapse."""
    if isinstance(layer, Neurons):
        return _price_neurons(layer, counts, prices)
    if layer.kind in ("conv", "linear", "shortcut") and layer.reads == "spikes":
        return _price_spikes(layer, counts, prices)
    return _price_other(layer, counts.code, layer.steps, prices)


def price_twin(layer: Synapses | Neurons, prices: Prices) -> LayerEnergy:
    """Return the cost of a layer of the twin: T = 1, activations of D levels in ⌈log₂(D+1)⌉ bits.

    Its layers are dense. An activation takes one product, for its scale, and two comparisons, with
    0 and D.
    """
    bits = prices.bits
    if isinstance(layer, Neurons):
        # round(u / a) takes a product with 1 / a, and the cut to 0 ... D two comparisons.
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
    # The twin's spike bits: an activation of D levels has ⌈log₂(D+1)⌉ of them and one step.
    width = BINARY_CODE.slots(layer.levels)
    stored = layer.inputs * width
    # Sources that share weights are added up first and then multiplied once, so that every stream
    # after the first costs only these additions.
    if layer.stream:
        added = Operations(additions=layer.inputs)
        return _price(layer, added, Traffic(activations=BitTraffic(stored, stored)), prices)
    dense = float(layer.connections)
    # Activations of one level are 0 or 1: a weight is added, not multiplied.
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
        # Every product takes place, so NS-ACE is S-ACE.
        layer.macs * budget,
        layer.macs * budget,
    )


def _price_spikes(layer: Synapses, counts: Counts, prices: Prices) -> LayerEnergy:
    """Return the cost of synapses that read spikes, as they occur in the samples."""
    bits, slots = prices.bits, counts.code.slots(layer.levels)
    accumulations = layer.accumulations / counts.samples
    spikes = layer.spikes / counts.samples
    budget = layer.steps * bits.weight * slots
    return _price(
        layer,
        Operations(accumulations=accumulations, additions=layer.biases * layer.steps),
        Traffic(
            # Over several steps there is a folded copy of the weights for each scale a_t.
            BitTraffic(accumulations * bits.weight, layer.weights * layer.copies * bits.weight),
            # Each accumulation reads and writes its membrane.
            BitTraffic(2 * accumulations * bits.membrane, layer.outputs * bits.membrane),
            # A spike is read once, as the address of its neuron, however many synapses it reaches.
            BitTraffic(spikes * _count_address_bits(layer.inputs), layer.inputs * slots),
        ),
        prices,
        budget,
        layer.macs * budget,
        # Layers without weights (`macs` is 0), such as shortcuts, have neither S-ACE nor NS-ACE.
        accumulations * bits.weight if layer.macs else 0.0,
    )


def _price_neurons(layer: Neurons, counts: Counts, prices: Prices) -> LayerEnergy:
    """Return the cost of neurons: thresholds, leaks and resets, with the spikes that they send."""
    n, each, slots = layer.neurons, layer.operations, counts.code.slots(layer.levels)
    spikes = layer.spikes / counts.samples
    membranes = n * prices.bits.membrane
    return _price(
        layer,
        Operations(
            multiplications=each.multiplications * n,
            # A soft reset subtracts one level for each spike; without spikes nothing is subtracted.
            additions=each.additions * n + (spikes if each.subtracts else 0.0),
            comparisons=each.comparisons * n,
        ),
        Traffic(
            # Read in each of T steps, and written in all but the last.
            membranes=BitTraffic((2 * layer.steps - 1) * membranes, membranes),
            activations=BitTraffic(spikes * _count_address_bits(n), n * slots),
        ),
        prices,
    )


def _price_other(layer: Synapses, code: Code, steps: int, prices: Prices) -> LayerEnergy:
    """Return the cost of dense products of pixels or currents, passed sums, or spike products."""
    bits, connections = prices.bits, float(layer.connections * steps)
    outputs = float(layer.outputs * bits.membrane)
    # The product of two binary spikes is a logical AND for each slot, charged as a comparison.
    if layer.kind == "product":
        gates = Operations(comparisons=connections * code.slots(layer.levels))
        return _price(layer, gates, Traffic(), prices)
    # A current that is added to another sum: both are read, and the sum is written.
    if layer.kind == "current":
        added = Operations(additions=connections + layer.biases * steps)
        return _price(
            layer,
            added,
            Traffic(membranes=BitTraffic(3 * connections * bits.membrane, outputs)),
            prices,
        )
    # The rest are dense: each connection reads a weight and a value, and each output is written.
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


def _count_address_bits(places: int) -> int:
    """Return the bits of an address among `places`."""
    return max(1, (places - 1).bit_length())


serve_old_names(__name__)
