"""The picture of a table: means with their intervals, accuracy next to spikes."""

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pit_jax.display import escape_math

from .content import ACCURACY, PAPER, SPIKES, Content, get_heading, shorten_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from configs.scales import Case

# In inches: a row of a panel, what a panel needs around its rows, and the widths.
ROW, AROUND, LABELS, PANEL, NARROW = 0.27, 0.75, 2.4, 3.0, 2.3
# With more panels than this in a line, all are narrow.
MOST_WIDE = 3
FAINT = 0.35
# Records and pages are committed together, so pictures are small.
DPI = 100


def draw_means(page: Content) -> "Figure | None":
    """Return the picture of a page; None if no case has or awaits a number.

    There is a line of panels for each group of data, with a panel for each measure.
    """
    from pit_jax.plots import style

    groups = _list_groups(page)
    if not groups:
        return None
    count = len(page.measures)
    heights = [AROUND + ROW * len(cases) for cases in groups.values()]
    width = LABELS + count * (PANEL if count <= MOST_WIDE else NARROW)
    figure = style.figure(sum(heights), width=width)
    panels = figure.subplots(len(groups), count, squeeze=False, height_ratios=heights)
    for line, (group, cases) in zip(panels, groups.items(), strict=True):
        measured = [at for at in range(count) if _is_measured(page, cases, page.measures[at])]
        for at, axes in enumerate(line):
            if at not in measured:
                axes.set_axis_off()
                continue
            _draw_panel(axes, page, cases, page.measures[at], style.COLORS[at % len(style.COLORS)])
            if at == measured[0]:
                axes.set_title(escape_math(group), loc="left", fontsize=10)
            else:
                axes.tick_params(axis="y", labelleft=False)
    return figure


def save_png(figure: "Figure") -> bytes:
    """Return a picture as PNG, the same bytes for the same numbers."""
    drawn = BytesIO()
    # Without the version of matplotlib, which would change the bytes.
    figure.savefig(
        drawn, format="png", dpi=DPI, metadata={"Software": None}, pil_kwargs={"optimize": True}
    )
    return drawn.getvalue()


def _list_groups(page: Content) -> dict[str, list["Case"]]:
    """Return the cases with any number to draw, by their group."""
    groups: dict[str, list[Case]] = {}
    for case in page.experiment.cases:
        result = page.results[case.label]
        # A row with a missing run gets an empty line; a cited row gets none.
        if result.seeds or any(result.estimate(measure) for measure in page.measures):
            groups.setdefault(case.group, []).append(case)
    return groups


def _is_measured(page: Content, cases: Sequence["Case"], measure: str) -> bool:
    """Return whether any of `cases` has this measure, or is trained and must get it."""
    results = [page.results[case.label] for case in cases]
    if measure in (ACCURACY, SPIKES):
        return any(result.seeds for result in results)
    return any(result.estimate(measure) for result in results)


def _draw_panel(
    axes: "Axes", page: Content, cases: Sequence["Case"], measure: str, color: str
) -> None:
    from matplotlib.ticker import MaxNLocator

    from pit_jax.plots import style

    for y, case in enumerate(cases):
        result = page.results[case.label]
        found = result.estimate(measure)
        if found is None:
            if result.seeds:
                axes.text(0.02, y, "missing", transform=axes.get_yaxis_transform(), **_small())
            continue
        if result.seeds and found.size > 1:
            values = result.list_values(measure)
            axes.plot(values, [y] * len(values), ".", color=color, alpha=FAINT, markersize=5)
            axes.plot([found.low, found.high], [y, y], color=color, linewidth=2)
        axes.plot([found.mean], [y], "o", color=color, markersize=6)
        if page.scale == PAPER:
            axes.plot([page.get_printed(case, measure)], [y], "|", color=style.GRAY, markersize=12)
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_yticks(range(len(cases)), [escape_math(shorten_label(case)) for case in cases])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    label = "spikes of a neuron" if measure == SPIKES else get_heading(measure)
    style.finish(axes, xlabel=label)


def _small() -> dict[str, Any]:
    from pit_jax.plots import style

    return {"color": style.GRAY, "fontsize": 9, "va": "center", "style": "italic"}
