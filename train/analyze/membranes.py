"""The density of the membranes of every layer over time steps (Fig. 4)."""

from collections.abc import Mapping, Sequence

from pit_jax.analysis.membrane import Density, densities
from pit_jax.analysis.plots import membrane as plots

from .subject import Analysis, Plot, Subject, Table, explain_missing

SAMPLES = 256
TITLE = "Membranes"
HEADER = ("step", "mean", "sd", "apart", "bandwidth")
APART = "`apart` is the total variation distance between a step's density and the mean density."
SMOOTHED = "Membranes before firing, smoothed with a Gaussian of the given bandwidth"


def analyze(subject: Subject) -> Analysis:
    """Return the densities of all layers, and a surface of the last one."""
    found = _measure(subject)
    if not found:
        return Analysis(TITLE, [explain_missing("has membranes", subject)])
    # Fig. 4 shows the last layer too.
    last = list(found)[-1]
    figures = {
        "flat": Plot(lambda: plots.plot_from_above(found), f"{SMOOTHED}; 99.8 % of them are shown.")
    }
    if len(found[last].density) > 1:
        figures["surface"] = Plot(
            lambda: plots.surfaces({last: found[last]}), f"{SMOOTHED} (Fig. 4); the last layer."
        )
    return Analysis(TITLE, [APART], _make_tables("layer", found), figures)


def compare(runs: Sequence[Subject]) -> Analysis:
    """Return the densities of the last layer of several runs."""
    found = {run.name: list(each.values())[-1] for run in runs if (each := _measure(run))}
    if not found:
        return Analysis(TITLE, [explain_missing("has membranes", *runs)])
    figures = {
        "flat": Plot(
            lambda: plots.plot_from_above(found), f"{SMOOTHED}; the last layer of each run."
        )
    }
    if all(len(each.density) > 1 for each in found.values()):
        figures["surfaces"] = Plot(lambda: plots.surfaces(found), f"{SMOOTHED} (Fig. 4).")
    return Analysis(TITLE, [APART], _make_tables("run", found), figures)


def _measure(subject: Subject) -> dict[str, Density]:
    return densities(subject.model, subject.variables, lambda: subject.batches("test", SAMPLES))


def _make_tables(of: str, found: Mapping[str, Density]) -> dict[str, Table]:
    """Return a table with a row for each step, and one of the densities in the figures."""
    steps = [
        [name, t, *numbers, each.bandwidth]
        for name, each in found.items()
        for t, numbers in enumerate(zip(each.mean, each.sd, each.apart, strict=True), 1)
    ]
    drawn = [
        [name, t, f"{membrane:.6g}", f"{value:.6g}"]
        for name, each in found.items()
        for t, density in enumerate(each.density, 1)
        for membrane, value in zip(each.at, density, strict=True)
    ]
    return {
        "steps": Table((of, *HEADER), steps),
        "densities": Table((of, "step", "membrane", "density"), drawn),
    }
