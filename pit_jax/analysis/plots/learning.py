"""Learning curves of one or several runs (Fig. 3)."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pit_jax.display import escape_math
from pit_jax.plots.style import figure, finish, get_ink, style_run, use_integer_ticks

PANELS = ("training loss", "training accuracy (%)", "test accuracy (%)")


def curves(
    runs: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float]]]],
    baseline: float | None = None,
    labels: Sequence[str] = PANELS,
) -> Figure:
    """Draw the curves of each run, epochs and values for each of three panels.

    `baseline` is an accuracy in percent, drawn as a line; `labels` name the panels.
    """
    drawn = figure(3.0 + 0.2 * len(runs))
    for place, (axes, label) in enumerate(zip(drawn.subplots(1, 3), labels, strict=True)):
        for i, (name, panels) in enumerate(runs.items()):
            axes.plot(*panels[place], marker="o", ms=2.5, label=escape_math(name), **style_run(i))
        finish(axes, xlabel="epoch", ylabel=label)
        axes.tick_params(labelsize=8)
        use_integer_ticks(axes.xaxis)
    if baseline is not None:
        axes.axhline(baseline, color=get_ink(), lw=0.8, label="where the first run ends")
    drawn.legend(
        *axes.get_legend_handles_labels(), loc="outside lower left", frameon=False, ncols=2
    )
    return drawn
