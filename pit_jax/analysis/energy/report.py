"""What a network costs by layer, beside its quantized twin, under each convention by its name."""

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
from pit_jax.inference.listing import align_columns
from pit_jax.old_names import serve_old_names


@dataclass(frozen=True)
class Sums:
    """A network's totals for one sample, energy in pJ; None where a convention has no such number.

    `energy` is that of operations, without memory.
    """

    accumulations: Number | None = None
    macs: Number | None = None
    energy: Number | None = None
    s_ace: Number | None = None
    ns_ace: Number | None = None


@dataclass(frozen=True)
class EnergyReport:
    """The layers of a network in the order in which they run, and those of its twin beside them.

    The twin is the same network at T = 1 whose neurons are activations of D levels, in
    ⌈log₂(D+1)⌉ bits. `str` is the table.
    """

    layers: list[LayerEnergy]
    twin: list[LayerEnergy]
    counts: Counts
    prices: Prices

    @property
    def conventions(self) -> dict[str, Sums]:
        """Totals as they are counted here (`honest`), and as the paper's tables would."""
        return {
            "honest": sums(self.layers),
            "paper_table3": compute_table3(self.counts, self.prices),
            "paper_table10": compute_table10(self.counts, self.prices),
            "twin": sums(self.twin),
        }

    @property
    def energy(self) -> Number:
        """pJ of all operations for one sample, in the mean."""
        return sum(layer.energy for layer in self.layers)

    @property
    def energy_deviation(self) -> Number:
        """The standard deviation, between samples, of the energy of accumulations, in pJ."""
        by_sample = [row.by_sample for row in self.counts.synapses if row.by_sample.size]
        total = np.sum(by_sample, axis=0) if by_sample else np.zeros(1)
        return float(np.std(total)) * self.prices.picojoules.ac

    @property
    def memory_energy(self) -> Number:
        """pJ of all that is read and written for one sample, in the mean."""
        return sum(layer.memory_energy for layer in self.layers)

    @property
    def neurobench(self) -> dict[str, Any]:
        """Totals under the field names of NeuroBench, of the network in the slots of its code.

        Synapses whose weight is 0 count as others do, and shortcuts as layers.
        """
        return compute_neurobench(self.counts)

    def __str__(self) -> str:
        return _table(self)


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
    """What the network takes for the mean of `batches`, or one, of images or frames.

    Raises NotFoldable for a network that no program of spikes says exactly.
    """
    counts = count(model, variables, batches, code=code)
    prices = Prices(bits, picojoules, memory)
    layers = [price_layer(layer, counts, prices) for layer in counts.layers]
    return EnergyReport(
        layers, [price_twin(layer, prices) for layer in counts.layers], counts, prices
    )


def sums(layers: Sequence[LayerEnergy]) -> Sums:
    """The totals of rows."""
    return Sums(
        accumulations=sum(layer.operations.accumulations for layer in layers),
        macs=sum(layer.operations.macs for layer in layers),
        energy=sum(layer.energy for layer in layers),
        s_ace=sum(layer.s_ace for layer in layers),
        ns_ace=sum(layer.ns_ace for layer in layers),
    )


def compute_table3(counts: Counts, prices: Prices) -> Sums:
    """S-ACE and NS-ACE by the rule of Table 3, with D the largest of all layers."""
    macs = sum(row.macs for row in counts.synapses if not row.stream)
    levels = max((layer.levels for layer in counts.neurons), default=1)
    s_ace, ns_ace = paper_table3(
        macs, counts.rate, steps=counts.steps, levels=levels, weight_bits=prices.bits.weight
    )
    return Sums(s_ace=s_ace, ns_ace=ns_ace)


def compute_table10(counts: Counts, prices: Prices) -> Sums:
    """Accumulations, MACs and energy by the rule of Table 10: rate · products, without T · D."""
    accumulations = 0.0
    for row in counts.synapses:
        if row.macs and row.reads == "spikes":
            sent = row.inputs * row.levels * row.steps * counts.samples
            accumulations += row.counted / sent * row.macs
    first = sum(row.macs for row in counts.synapses if row.reads == "pixels")
    neurons = sum(layer.neurons for layer in counts.neurons)
    scaled = any(layer.operations.scaled for layer in counts.neurons)
    macs, energy = paper_table10(
        first, neurons, accumulations, scaled=scaled, picojoules=prices.picojoules
    )
    return Sums(accumulations=accumulations, macs=macs, energy=energy)


def compute_neurobench(counts: Counts) -> dict[str, Any]:
    """See `Report.neurobench`."""
    slots = counts.code.slots
    spikes = sum(layer.spikes for layer in counts.neurons) / counts.samples
    places = sum(layer.neurons * layer.steps * slots(layer.levels) for layer in counts.neurons)
    macs = accumulations = dense = 0
    for row in counts.synapses:
        if row.kind not in ("conv", "linear", "shortcut", "attention"):
            continue
        if row.reads == "spikes":
            accumulations += row.accumulations
            dense += row.connections * row.steps * slots(row.levels)
        else:
            all_products = row.connections * row.steps
            macs += row.products if row.reads == "pixels" else all_products * counts.samples
            dense += all_products
    # A membrane changes in its first step, and where it fires in a later one.
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


def _table(report: EnergyReport) -> str:
    rows = [
        [layer.path, layer.kind, *map(_number, _row(layer, twin))]
        for layer, twin in zip(report.layers, report.twin, strict=True)
    ]
    every = [_row(layer, twin) for layer, twin in zip(report.layers, report.twin, strict=True)]
    rows.append(["in all", "", *(_number(sum(column)) for column in zip(*every, strict=True))])
    return "\n".join(align_columns([HEAD, *rows], left=2))


def _row(layer: LayerEnergy, twin: LayerEnergy) -> list[Number]:
    done = layer.operations
    others = done.multiplications + done.additions + done.comparisons
    energies = layer.energy, layer.memory_energy, twin.energy, twin.memory_energy
    return [
        *(done.macs, done.accumulations, others, layer.s_ace, layer.ns_ace),
        *(picojoules / 1000 for picojoules in energies),
    ]


def _number(x: Number) -> str:
    return f"{x:,.1f}" if x < 1e4 else f"{x:,.0f}"


serve_old_names(__name__)
