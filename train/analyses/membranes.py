"""The density of the membranes of every layer over the time steps."""

from collections.abc import Sequence

from pit_jax.analysis.membrane import Density, densities
from pit_jax.analysis.plots import membrane as plots
from train.analyses.trained import Analysis, Drawn, Table, Trained

SAMPLES = 256
TITLE = "Membranes"
HEADER = ("step", "mean", "sd", "apart", "bandwidth")
APART = (
    "`apart` is the total variation distance between a step's density and the mean of all steps'."
)
SMOOTHED = "Membranes before firing, smoothed with a Gaussian of the bandwidth that is given"


def analyse(trained: Trained) -> Analysis:
    """Densities of all layers; the surface is that of the last one."""
    found = _densities(trained)
    if not found:
        return Analysis(TITLE, ["No layer of this network has membranes."])
    last = list(found)[-1]
    figures = {"flat": Drawn(lambda: plots.flat(found), f"{SMOOTHED}; 99.8 % of them are shown.")}
    if trained.config.num_steps > 1:
        figures["surface"] = Drawn(
            lambda: plots.surfaces({last: found[last]}), f"{SMOOTHED} (Fig. 4); the last layer."
        )
    points = [
        [f"{each.at[k]:.6g}", *(f"{value:.6g}" for value in each.density[:, k])]
        for each in [found[last]]
        for k in range(len(each.at))
    ]
    steps = range(1, len(found[last].density) + 1)
    return Analysis(
        TITLE,
        [APART],
        {
            "steps": Table(("layer", *HEADER), [r for each in found.items() for r in _rows(*each)]),
            "last_layer": Table(("membrane", *(f"density_{t}" for t in steps)), points),
        },
        figures,
    )


def compare(runs: Sequence[Trained]) -> Analysis:
    """The last layers of several runs."""
    found = {run.name: list(each.values())[-1] for run in runs if (each := _densities(run))}
    if not found:
        return Analysis(TITLE, ["No layer of these networks has membranes."])
    figures = {"flat": Drawn(lambda: plots.flat(found), f"{SMOOTHED}; the last layer of each run.")}
    if all(len(each.density) > 1 for each in found.values()):
        figures["surfaces"] = Drawn(lambda: plots.surfaces(found), f"{SMOOTHED} (Fig. 4).")
    rows = [row for each in found.items() for row in _rows(*each)]
    return Analysis(TITLE, [APART], {"steps": Table(("run", *HEADER), rows)}, figures)


def _densities(trained: Trained) -> dict[str, Density]:
    return densities(trained.model, trained.variables, lambda: trained.batches("test", SAMPLES))


def _rows(name: str, found: Density) -> list[list[object]]:
    numbers = zip(found.mean, found.sd, found.apart, strict=True)
    return [[name, t, *each, found.bandwidth] for t, each in enumerate(numbers, 1)]
