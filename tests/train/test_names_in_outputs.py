"""Names of classes, runs and layers in figures, pages and tables are text."""

import csv
import io
import warnings
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pit_jax.analysis.plots import capacity, landscape, learning, memory, rates, scales
from train import figures
from train.analyze.output import format_csv
from train.analyze.subject import Table
from train.report import figures as report_figures
from train.report.page import parts, render_page, show_figure

NAMES = ["$5", "a_b$c$", "_hidden", "$\\frac{$", "a\x1b\x07", "<b>&", "é\u0308 [1]", "\\$x$"]
SHOWN = [name.replace("\x1b\x07", r"\x1b\x07") for name in NAMES]
RECORDS = [
    {
        **{"step": step, "epoch": step, "train_loss": 1.0, "train_accuracy": 0.5},
        **{"test_loss": 1.0, "test_accuracy": 0.5, "images_per_second": 9.0},
        **{f"test_{name}": 0.5 for name in NAMES},
        "health": {name: {"rate": 0.5} for name in NAMES},
    }
    for step in (1, 2)
]


def list_texts(figure: Figure) -> list[str]:
    """Draw a figure as SVG, with its texts as text, and return them."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fonts lack some glyphs.
        figure.savefig(file, format="svg")
    tree = ElementTree.fromstring(file.getvalue())
    found = ["".join(node.itertext()).strip("\u200b") for node in tree.iterfind(".//{*}text")]
    return [text.removeprefix("\u200b") for text in found]


def check(figure: Figure, names=SHOWN) -> None:
    """Check that a figure shows all names as they are, none of them as mathematics."""
    there = list_texts(figure)
    assert [name for name in names if not any(text.startswith(name) for text in there)] == []


def test_class_names_in_the_figure_of_an_evaluation_are_text():
    count = len(NAMES)
    bins = [{"above": 0.0, "up_to": 1.0, "images": 1, "confidence": 0.5, "accuracy": 0.5}]
    title = "a$b$: last checkpoint on own/$test$"
    figure = figures.evaluation(title, np.eye(count, dtype=int).tolist(), NAMES, bins)
    check(figure, [*SHOWN, title])


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_layer_names_in_the_figure_of_rates_are_text(steps):
    check(figures.firing_rates("$t$", {name: [0.5] * steps for name in NAMES}), [*SHOWN, "$t$"])


def test_run_layer_and_metric_names_in_the_figures_of_a_report_are_text():
    check(report_figures.comparison({name: RECORDS for name in NAMES}))
    check(report_figures.metrics(RECORDS))
    check(report_figures.health(RECORDS))
    check(figures.curves("$5 and $6", RECORDS), ["$5 and $6"])


def test_run_and_layer_names_in_the_figures_of_analyses_are_text():
    panels = [([1.0, 2.0], [0.5, 0.6])] * 3
    check(learning.curves({name: panels for name in NAMES}))
    check(rates.plot_synchrony(dict.fromkeys(NAMES, (0.5, 3)), 4))
    check(memory.plot_by_layer(dict.fromkeys(NAMES, 1 << 20), "$t$"), [*SHOWN, "$t$"])


@pytest.mark.slow
def test_names_in_the_larger_figures_of_analyses_are_text():
    layers, axis = dict.fromkeys(NAMES, np.ones(3)), np.linspace(-1, 1, 5)
    check(rates.plot_over_steps(layers, dict.fromkeys(NAMES, (np.ones(3), np.ones(3))), 4))
    check(rates.compare(dict.fromkeys(NAMES, layers), 4))
    check(rates.integers(layers, (0, 1, 2), 4))
    check(scales.scales(scale := dict.fromkeys(NAMES, np.ones((1, 4))), {}))
    check(scales.plot_over_steps(scale, {}))
    bits = dict.fromkeys(("trains", "values", "paper"), 1.0)
    check(capacity.bits_of_layers(dict.fromkeys(NAMES, bits)))
    check(landscape.contour(dict.fromkeys(NAMES, 1 + np.outer(axis, axis) ** 2), axis))


def test_logarithmic_axes_keep_their_powers():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [1, 1e9])
    axes.set_yscale("log")
    html = show_figure("caption", lambda: figure)
    assert "mathdefault" not in html
    assert any(isinstance(text, Text) and text.get_parse_math() for text in figure.findobj(Text))


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "{{ 7 * 7 }}", '" onload="x', "&amp;"]
)
def test_names_in_pages_are_escaped(name):
    html = render_page(
        name,
        [
            parts.table([name], [[name, name]]),
            parts.section("id", name, [parts.paragraph(name)]),
            parts.links([("id", name)]),
            parts.details(name, parts.heading(name)),
            parts.figure(name, "data:", ""),
        ],
        "report",
    )
    read: list[str] = []
    parser = HTMLParser()
    parser.handle_data = read.append
    parser.handle_starttag = lambda tag, attributes: read.extend(v for _, v in attributes if v)
    parser.feed(html)
    # In the title twice, a table three times, and once in each other part, twice in a figure.
    assert read.count(name) == 12 and "<script" not in html


def test_control_characters_in_pages_are_visible():
    html = render_page("a\x1b\x00\u202eb", [parts.table((), [["\x07", 1, None]])], "report")
    assert r"a\x1b\x00\u202eb" in html and r"\x07" in html


def test_no_cell_of_a_table_is_a_formula():
    odd = ["=cmd|'/C calc'!A0", "+1", "-x", "@x", "\tx", "plain", 'a"b', "a,b", "two\nlines"]
    rows = [[name, -1.5, "-1.5", None, np.float32(-2)] for name in odd]
    written = format_csv(Table(["=layer", "@a", "b", "c", "d"], rows))
    header, *found = csv.reader(io.StringIO(written))
    assert header[:2] == ["'=layer", "'@a"]
    for name, row in zip(odd, found, strict=True):
        assert row[0] in (name, f"'{name}") and row[0][0] not in "=+-@\t"
        assert row[1:] == ["-1.5", "-1.5", "", "-2.0"]
