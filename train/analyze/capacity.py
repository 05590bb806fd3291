"""The representation capacity of each neuron layer of a run."""

import math

from pit_jax.analysis.capacity import capacity_paper, log_configurations, log_values_pit
from pit_jax.analysis.plots.capacity import bits_of_layers

from ..config.own import shorten_name
from .subject import Analysis, Plot, Subject, Table, explain_missing

HEADER = (
    *("layer", "neurons", "steps", "levels", "paper_bits", "values_bits", "trains_bits"),
    *("values_bits_per_neuron", "trains_bits_per_neuron"),
)


def analyze(subject: Subject) -> Analysis:
    """Return the paper's formula and the exact counts, in bits, for every neuron layer."""
    # One sample for each device, since only shapes matter.
    x, _ = subject.samples("test", subject.over_batch.mesh.size)
    # -1, 0 and 1 have the capacity of 0, 1 and 2. A ternary layer may not send -1 in these samples.
    ternary = "Ternary" in shorten_name(subject.config.neuron.name)
    rows, drawn = [], {}
    for layer, seen in subject.record(subject.variables, x).items():
        neurons, steps = math.prod(seen.count.shape[2:]), seen.count.shape[1]
        is_signed = ternary or bool((seen.count < 0).any())
        levels = seen.levels * (2 if is_signed else 1)
        # PIT's scale `[T, C]` has a value for each step; a scale `[C]` is shared by all steps.
        varies = seen.scale is not None and seen.scale.ndim == 2
        bits = {
            "paper": capacity_paper(steps, neurons, levels) / math.log(2),
            "values": log_values_pit(steps, neurons, levels, time_varying=varies) / math.log(2),
            "trains": log_configurations(steps, neurons, levels) / math.log(2),
        }
        each = (bits["values"] / neurons, bits["trains"] / neurons)
        rows.append([layer, neurons, steps, levels, *bits.values(), *each])
        drawn[layer] = bits
    if not rows:
        return Analysis("Representation capacity", [explain_missing("fires integers", subject)])
    remarks = [
        "Upper bounds from T, N and D alone: membranes do not reach every spike train. Values are "
        "counted by Eq. 16, or by Eq. 18 if each step has its own scale, for generic coefficients; "
        "docs/theory/capacity.md has the definitions."
    ]
    caption = (
        "Bits of each neuron layer: log2 of the paper's T (D+1)^N (Eqs. 17 and 19), of the values "
        "that its spikes can take, and of its spike trains."
    )
    return Analysis(
        "Representation capacity",
        remarks,
        {"capacity": Table(HEADER, rows)},
        {"capacity": Plot(lambda: bits_of_layers(drawn), caption)},
    )
