"""The cost of a network and of its quantized twin by layer, and totals by each convention."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from pit_jax.analysis.energy.codes import EXPANDED, Code
from pit_jax.analysis.energy.conventions import paper_table3, paper_table10
from pit_jax.analysis.energy.counts import Counts, count
from pit_jax.analysis.energy.layers import LayerEnergy, Prices, price_layer, price_twin
from pit_jax.analysis.energy.prices import (
    FLOAT32,
    HOROWITZ,
    WIDTHS,
    Bits,
    Memory,
    Number,
    Picojoules,
)
from pit_jax.display import html_lines
from pit_jax.inference.listing import align_columns
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Sums:
    """A network's totals for one sample; None if the convention does not define the number.

    `energy` is the energy of all operations in pJ, without memory.
    """

    accumulations: Number | None = None
    macs: Number | None = None
    energy: Number | None = None
    s_ace: Number | None = None
    ns_ace: Number | None = None


@dataclass(frozen=True, repr=False)
class EnergyReport:
    """The cost of a network and of its `twin`, layer by layer as they run; `str` is the table.

    The twin is the same network at T = 1 whose neurons are activations of D levels in
    ⌈log₂(D+1)⌉ bits.
    """

    layers: list[LayerEnergy]
    twin: list[LayerEnergy]
    counts: Counts
    prices: Prices

    @property
    def conventions(self) -> dict[str, Sums]:
        """Totals by convention: `honest` (our count), the rules of the paper's tables, the twin."""
        return {
            "honest": sums(self.layers),
            "paper_table3": compute_table3(self.counts, self.prices),
            "paper_table10": compute_table10(self.counts, self.prices),
            "twin": sums(self.twin),
        }

    @property
    def energy(self) -> Number:
        """The mean energy of all operations of one sample, in pJ."""
        return sum(layer.energy for layer in self.layers)

    @property
    def energy_deviation(self) -> Number:
        """The standard deviation between samples of the energy of accumulations, in pJ."""
        by_sample = [row.by_sample for row in self.counts.synapses if row.by_sample.size]
        total = np.sum(by_sample, axis=0) if by_sample else np.zeros(1)
        return float(np.std(total)) * self.prices.picojoules.ac

    @property
    def memory_energy(self) -> Number:
        """The mean energy of all memory accesses of one sample, in pJ."""
        return sum(layer.memory_energy for layer in self.layers)

    @property
    def neurobench(self) -> dict[str, Any]:
        """Totals under the field names of NeuroBench, for the network expanded to binary slots.

        Unlike NeuroBench, synapses whose weight is 0 are counted, and shortcuts are layers.
        """
        return compute_neurobench(self.counts)

    def __str__(self) -> str:
        return _format_table(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_lines(self)


def report(
    model: nn.Module,
    variables: Mapping[str, Any],
    batches: Float[ArrayLike, "..."] | Iterable[Float[ArrayLike, "..."]],
    *,
    code: Code = EXPANDED,
    bits: Bits = WIDTHS,
    picojoules: Picojoules = FLOAT32,
    memory: Memory = HOROWITZ,
) -> EnergyReport:
    """Return the mean cost of a sample of one batch or an iterable of `batches`.

    A batch has images or frames. Raises NotFoldable for a network that cannot be compiled to an
    exact program of spikes.
    """
    counts = count(model, variables, batches, code=code)
    prices = Prices(bits, picojoules, memory)
    layers = [price_layer(layer, counts, prices) for layer in counts.layers]
    return EnergyReport(
        layers, [price_twin(layer, prices) for layer in counts.layers], counts, prices
    )


def sums(layers: Sequence[LayerEnergy]) -> Sums:
    """Return the totals of some layers."""
    return Sums(
        accumulations=sum(layer.operations.accumulations for layer in layers),
        macs=sum(layer.operations.macs for layer in layers),
        energy=sum(layer.energy for layer in layers),
        s_ace=sum(layer.s_ace for layer in layers),
        ns_ace=sum(layer.ns_ace for layer in layers),
    )


def compute_table3(counts: Counts, prices: Prices) -> Sums:
    """Return S-ACE and NS-ACE by the rule of Table 3, with the largest D of all layers."""
    # Streams read the same weights, and the paper counts the products of a layer once.
    macs = sum(row.macs for row in counts.synapses if not row.stream)
    levels = max((layer.levels for layer in counts.neurons), default=1)
    s_ace, ns_ace = paper_table3(
        macs, counts.rate, steps=counts.steps, levels=levels, weight_bits=prices.bits.weight
    )
    return Sums(s_ace=s_ace, ns_ace=ns_ace)


def compute_table10(counts: Counts, prices: Prices) -> Sums:
    """Return accumulations, MACs and energy by the rule of Table 10: rate · products, no T · D."""
    accumulations = 0.0
    for row in counts.synapses:
        if row.macs and row.reads == "spikes":
            # A rate of 1 is D spikes of every input in every step of every sample.
            sent = row.inputs * row.levels * row.steps * counts.samples
            accumulations += row.counted / sent * row.macs
    first = sum(row.macs for row in counts.synapses if row.reads == "pixels")
    neurons = sum(layer.neurons for layer in counts.neurons)
    # The paper counts two MACs for each of PIT's neurons, leak and scale, at any T.
    scaled = any(layer.operations.scaled for layer in counts.neurons)
    macs, energy = paper_table10(
        first, neurons, accumulations, scaled=scaled, picojoules=prices.picojoules
    )
    return Sums(accumulations=accumulations, macs=macs, energy=energy)


def compute_neurobench(counts: Counts) -> dict[str, Any]:
    """Return `EnergyReport.neurobench`."""
    slots = counts.code.slots
    spikes = sum(layer.spikes for layer in counts.neurons) / counts.samples
    places = sum(layer.neurons * layer.steps * slots(layer.levels) for layer in counts.neurons)
    macs = accumulations = dense = 0
    for row in counts.synapses:
        # Products of spikes and passed currents are no synapses in NeuroBench.
        if row.kind not in ("conv", "linear", "shortcut", "attention"):
            continue
        if row.reads == "spikes":
            accumulations += row.accumulations
            dense += row.connections * row.steps * slots(row.levels)
        else:
            all_products = row.connections * row.steps
            macs += row.products if row.reads == "pixels" else all_products * counts.samples
            dense += all_products
    # NeuroBench counts an update where a membrane differs from the step before: every membrane in
    # the first step, and those that fired in a later one.
    updates = sum(layer.neurons + sum(layer.fired[1:]) / counts.samples for layer in counts.neurons)
    return {
        "footprint": counts.bytes,
        "parameter_count": counts.parameters,
        "connection_sparsity": counts.zero_weights / counts.weights if counts.weights else 0.0,
        "activation_sparsity": 1 - spikes / places if places else 0.0,
        "synaptic_operations": {
            "Effective_MACs": macs / counts.samples,
            "Effective_ACs": accumulations / counts.samples,
            "Dense": dense,
        },
        "membrane_updates": updates,
    }


HEAD = (
    *("layer", "kind", "MACs", "accumulations", "neuron ops", "S-ACE", "NS-ACE"),
    *("nJ", "memory nJ", "twin nJ", "its memory nJ"),
)


def _format_table(report: EnergyReport) -> str:
    rows = [
        [layer.path, layer.kind, *map(_format_number, _list_costs(layer, twin))]
        for layer, twin in zip(report.layers, report.twin, strict=True)
    ]
    every = [
        _list_costs(layer, twin) for layer, twin in zip(report.layers, report.twin, strict=True)
    ]
    rows.append(
        ["total", "", *(_format_number(sum(column)) for column in zip(*every, strict=True))]
    )
    return "\n".join(align_columns([HEAD, *rows], left=2))


def _list_costs(layer: LayerEnergy, twin: LayerEnergy) -> list[Number]:
    done = layer.operations
    others = done.multiplications + done.additions + done.comparisons
    energies = layer.energy, layer.memory_energy, twin.energy, twin.memory_energy
    return [
        *(done.macs, done.accumulations, others, layer.s_ace, layer.ns_ace),
        *(picojoules / 1000 for picojoules in energies),
    ]


def _format_number(x: Number) -> str:
    return f"{x:,.1f}" if x < 1e4 else f"{x:,.0f}"


serve_old_names(__name__)
