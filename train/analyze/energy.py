"""Operations, memory traffic and energy of a run, next to the same network with activations.

The counting is in `pit_jax.analysis.energy`, the figure in `pit_jax.analysis.plots.energy`.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from pit_jax.analysis.energy import EnergyReport, report
from pit_jax.analysis.energy.layers import LayerEnergy
from pit_jax.analysis.plots.energy import Bars, energy_of_layers
from pit_jax.inference import NotFoldable

from ..export.refusal import explain_refusal
from .subject import Analysis, Plot, Subject, Table

SAMPLES = 256
TITLE = "Energy"
HEADER = (
    *("layer", "kind", "reads", "macs", "accumulations", "accumulations_deviation"),
    *("multiplications", "additions", "comparisons", "bit_budget", "s_ace", "ns_ace"),
    *("energy_pj", "weight_bits", "membrane_bits", "activation_bits", "memory_pj"),
    *("twin_macs", "twin_accumulations", "twin_s_ace", "twin_energy_pj", "twin_memory_pj"),
)


def analyze(subject: Subject) -> Analysis:
    """Return the mean cost of each layer for a test sample, from exact counts of spikes."""
    model, variables = subject.model, subject.variables
    try:
        found = report(model, variables, subject.batches("test", SAMPLES))
    except NotFoldable as error:
        # The smallest number of samples that can be divided among the devices.
        x, _ = subject.samples("test", subject.over_batch.mesh.size)
        why = explain_refusal(subject.config, model, x, error)
        return Analysis(TITLE, [f"Energy is computed for networks of spikes only. {why}"])
    rows = [[*row] for row in _make_rows(found)]
    samples = found.counts.samples
    prices = found.prices.picojoules
    twin = found.conventions["twin"]
    # Only conventions without an energy have None here.
    assert twin.energy is not None
    remarks = [
        f"The operations of a sample take {found.energy / 1000:,.1f} nJ, the mean of {samples} "
        f"test samples, with a standard deviation of {found.energy_deviation / 1000:,.1f} nJ. The "
        f"twin takes {twin.energy / 1000:,.1f} nJ: the same network at one step, whose neurons are "
        "dense activations with the same number of levels. Its accuracy may differ.",
        f"Prices: {prices.mac} pJ for a MAC and {prices.ac} pJ for an addition or comparison of "
        f"32-bit floats at 45 nm. Memory takes {found.memory_energy / 1000:,.1f} nJ, and "
        f"{sum(layer.memory_energy for layer in found.twin) / 1000:,.1f} nJ for the twin, if no "
        "value is reused. docs/theory/energy.md describes what is counted.",
    ]
    totals = [[name, *asdict(sums).values()] for name, sums in found.conventions.items()]
    header = ["convention", "accumulations", "macs", "energy_pj", "s_ace", "ns_ace"]
    caption = (
        "Each layer's accumulations and MACs, and the energy of its operations and memory "
        "accesses. Gray bars: the quantized twin, which runs one step and sees one frame."
    )
    return Analysis(
        TITLE,
        remarks,
        {
            "energy": Table(HEADER, rows),
            "energy_totals": Table(header, totals),
            "neurobench": Table(["field", "value"], list(_flatten(found.neurobench))),
        },
        {"energy": Plot(lambda: energy_of_layers(list(_make_bars(found)), samples), caption)},
    )


def _make_rows(found: EnergyReport) -> Iterator[tuple[Any, ...]]:
    for layer, twin, deviation in _pair_layers(found):
        done, traffic = layer.operations, layer.traffic
        yield (
            *(layer.path, layer.kind, layer.source, done.macs, done.accumulations, deviation),
            *(done.multiplications, done.additions, done.comparisons),
            *(layer.bit_budget, layer.s_ace, layer.ns_ace, layer.energy),
            *(traffic.weights.moved, traffic.membranes.moved, traffic.activations.moved),
            *(layer.memory_energy, twin.operations.macs, twin.operations.accumulations),
            *(twin.s_ace, twin.energy, twin.memory_energy),
        )


def _make_bars(found: EnergyReport) -> Iterator[Bars]:
    prices = found.prices.picojoules
    for layer, twin, deviation in _pair_layers(found):
        done = layer.operations
        parts = done.macs * prices.mac, done.accumulations * prices.ac
        yield Bars(
            name=f"{layer.path} ({layer.kind})",
            operations=float(done.macs + done.accumulations),
            deviation=deviation,
            energy=(parts[0] / 1e3, parts[1] / 1e3, (layer.energy - sum(parts)) / 1e3),
            energy_deviation=deviation * prices.ac / 1e3,
            memory=layer.memory_energy / 1e3,
            twin_operations=float(twin.operations.macs + twin.operations.accumulations),
            twin_energy=twin.energy / 1e3,
            twin_memory=twin.memory_energy / 1e3,
        )


def _pair_layers(found: EnergyReport) -> Iterator[tuple[LayerEnergy, LayerEnergy, float]]:
    """Yield each layer, its twin, and the deviation of its accumulations between samples."""
    for layer, twin, counted in zip(found.layers, found.twin, found.counts.layers, strict=True):
        # Neurons, pixels and currents have no accumulations by sample.
        by_sample = getattr(counted, "by_sample", np.zeros(0))
        yield layer, twin, float(np.std(by_sample)) if by_sample.size else 0.0


def _flatten(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flatten(value)
        else:
            yield name, value
