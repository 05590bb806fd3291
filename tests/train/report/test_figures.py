"""Figures of runs: ticks, panels and colors, equal in train.report and train.analyze."""

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from pit_jax.analysis.plots import learning, memory, oscillation, rates, scales
from pit_jax.analysis.plots.energy import Bars, energy_of_layers
from pit_jax.plots import names
from pit_jax.plots.style import COLORS
from train import figures
from train.report import figures as report_figures
from train.report import page

BINS = [{"above": 0.0, "up_to": 1.0, "images": 4, "confidence": 0.5, "accuracy": 0.75}]
MEASURES = dict.fromkeys(("rate", "silent"), 0.5)


def make_records(epochs: int, **measures: float | None) -> list[dict]:
    layers = {name: MEASURES | {"floor": None} | measures for name in ("a", "b")}
    return [
        {
            **{"step": 10 * epoch, "epoch": epoch, "images_per_second": 5.0},
            **{f"{split}_{name}": 0.5 for split in ("train", "test") for name in WHAT},
            "health": layers,
        }
        for epoch in range(1, epochs + 1)
    ]


WHAT = ("loss", "accuracy", "own")


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_epochs_have_integer_ticks_only(epochs):
    records = make_records(epochs)
    drawn = (
        figures.curves("", records),
        report_figures.comparison({"run": records}),
        report_figures.metrics(records),
        report_figures.throughput(records),
        report_figures.health(records),
    )
    for figure in drawn:
        figure.canvas.draw()
        for axes in figure.axes:
            low, high = axes.get_xlim()
            ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert ticks == list(range(1, epochs + 1))


def test_measures_without_a_number_have_no_panel():
    titles = [axes.get_title(loc="left") for axes in report_figures.health(make_records(2)).axes]
    assert titles == ["firing rate (% of D)", "channels that never fire (%)"]
    one = make_records(1, flips=0.0, oscillating=None)
    assert report_figures.list_measures(one) == ["rate", "silent", "flips"]
    assert report_figures.list_drawn(one) == ["rate", "silent"]
    assert len(report_figures.health(one).axes) == 2  # A line of zeros looks like no data.
    nothing = [{"health": {"a": {"rate": None}}}, {}]
    assert report_figures.list_measures(nothing) == []


def test_runs_and_layers_have_the_same_colors_in_report_and_analysis():
    names = [f"run{i}" for i in range(8)]
    records = make_records(2)
    panel = ([1.0, 2.0], [0.5, 0.6])
    reported = report_figures.comparison(dict.fromkeys(names, records)).axes[0].lines[1::2]
    analyzed = learning.curves(dict.fromkeys(names, [panel] * 3)).axes[0].lines
    rated = rates.compare({name: {"a": np.ones(2)} for name in names}, 4).axes[0].lines
    looks = [
        [(to_hex(line.get_color()), line._unscaled_dash_pattern) for line in lines]
        for lines in (reported, analyzed, rated)
    ]
    assert looks[0] == looks[1] == looks[2] and len({str(each) for each in looks[0]}) == 8
    health = report_figures.health(records).axes[0].lines[:2]
    changes = oscillation.plot_over_epochs({"a": panel, "b": panel}, {}, 4).axes[0].lines
    assert [to_hex(line.get_color()) for line in health] == [
        to_hex(line.get_color()) for line in changes
    ]


@pytest.mark.parametrize("steps, bars", [(1, 2), (4, 8), (10, 0)])
def test_rates_of_a_report_look_like_those_of_an_analysis(steps, bars):
    found = {"a": np.full(steps, 0.2), "b": np.full(steps, 0.4)}
    reported = figures.firing_rates("", {name: list(each) for name, each in found.items()})
    ends = {name: (each, each) for name, each in found.items()}
    analyzed = rates.plot_over_steps(found, ends, 8)
    for figure in (reported, analyzed):
        assert len(figure.axes[0].patches) == bars
    colors = [
        [bar.get_facecolor() for bar in drawn.axes[0].patches] for drawn in (reported, analyzed)
    ]
    assert colors[0] == colors[1]
    # Numbers on the bars of one step, and in the cells of many steps.
    written = [text.get_text() for text in reported.axes[0].texts]
    assert written == ([] if steps == 4 else ["20.0"] * steps + ["40.0"] * steps)


def draw_energy():
    bar = Bars("a", 9.0, 1.0, (0.0, 2.0, 1.0), 0.5, 3.0, 9.0, 3.0, 3.0)
    return energy_of_layers([bar], 4)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: scales.scales({"a": np.ones((1, 4))}, {}),
        lambda: rates.plot_over_steps({"a": np.ones(2)}, {"a": (np.zeros(2), np.ones(2))}, 4),
        lambda: memory.parts({"step": {"weights": 1 << 20}}, "t", {"step": 2 << 20}),
        lambda: learning.curves({"run": [([1.0], [0.5])] * 3}, 50.0),
        draw_energy,
    ],
    ids=["medians", "intervals", "peaks", "goal", "deviations"],
)
def test_marks_have_the_color_of_text_so_that_dark_pages_show_them(draw):
    with matplotlib.rc_context(page.STYLE):
        drawing = page._save(draw(), format="svg", metadata={"Date": None}).decode()
    # Axes, ticks and texts have this color as well; black would be a mark that a dark page hides.
    assert f"stroke: {page.INK}" in drawing
    assert "stroke: #000000" not in drawing and "stroke: #000;" not in drawing


def test_class_names_without_a_font_are_numbers_with_a_note(monkeypatch):
    monkeypatch.setattr(names, "_list_regular", lambda: [])
    figure = figures.evaluation("title", [[3, 1], [0, 4]], ["cat", "犬"], BINS)
    matrix = figure.axes[0]
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["cat", "class 1"]
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["cat", "class 1"]
    assert figure.get_supxlabel() == names.NOTE
    # The accuracy has the color of the test curve.
    assert to_hex(figure.axes[1].lines[1].get_color()) == COLORS[1]


def test_other_class_names_have_no_note():
    figure = figures.evaluation("title", [[3, 1], [0, 4]], ["cat", "пёс"], BINS)
    assert figure.get_supxlabel() == ""
    labels = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["cat", "пёс"]
