"""The pictures of figures, drawn from records."""

import numpy as np
import pytest
from matplotlib.image import imread

from configs.scales import load
from train.reproduce import figures
from train.reproduce.figures import (
    DRAWINGS,
    draw_landscape,
    draw_learning,
    draw_levels,
    draw_membranes,
    draw_rates,
    draw_scales,
    read_measured,
    write_figure,
)

AT = np.linspace(-3, 3, 20)
MEASURES = {
    "learning": {
        "epochs": [1, 2],
        "train_loss_curve": [2.0, 1.0],
        "train_accuracy_curve": [0.2, 0.6],
        "test_accuracy_curve": [None, 0.5],
    },
    "membranes": {
        "membranes": {
            "at": AT.tolist(),
            "density": [np.exp(-((AT - t) ** 2)).tolist() for t in (0, 1)],
            "mean": [0.0, 1.0],
            "sd": [0.7, 0.7],
            "bandwidth": 0.1,
            "samples": 256,
        }
    },
    "landscape": {
        "landscape": (np.hypot(*np.mgrid[-2:3, -2:3]) + 0.1).tolist(),
        "landscape_axis": np.linspace(-1, 1, 5).tolist(),
    },
    "rates": {"rates": {"PIT_0": [0.1, 0.2], "PIT_1": [0.3, 0.4]}, "rate_samples": 256},
    "levels": {
        "levels": {
            "integers": [0, 1, 2],
            "shares": [0.7, 0.2, 0.1],
            "effective": 2.23,
            "rounding_error": 1.25,
            "samples": 256,
        }
    },
    "scales": {
        "scales": {"PIT_0": [0.5, 0.7, 0.9], "PIT_1": [1.0, 1.0, 2.0]},
        "scale_starts": {"PIT_0": [0.8, 0.8, 0.8], "PIT_1": [0.8, 0.8, 0.8]},
    },
}
FIGURES = [name for name in ("figure3", "figure4", "figure5", "figure6", "figure7")]


def make_records(experiment, seeds: int = 2):
    """Return records in which every run has the measures that the figure draws."""
    run = {"accuracy": 0.5, "spikes": 0.4, "measures": MEASURES[experiment.analysis]}
    runs = {str(seed): run for seed in range(seeds)}
    return {case.label: {"runs": runs} for case in experiment.cases}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_from_records_alone(name, tmp_path):
    experiment = load(name, "smoke")
    [file] = write_figure(experiment, make_records(experiment), tmp_path)
    assert file == tmp_path / f"{name}.png"
    image = imread(file)
    assert image[..., :3].std() > 0.05  # Something is drawn.
    assert image[..., 3].min() == 1  # Opaque, so that it is readable on dark pages.
    before = file.read_bytes()
    write_figure(experiment, make_records(experiment), tmp_path)
    assert file.read_bytes() == before


def test_there_is_no_figure_without_a_measured_run(tmp_path):
    experiment = load("figure3", "smoke")
    failed = {case.label: {"runs": {"0": {"failed": "NaN"}}} for case in experiment.cases}
    for records in ({}, failed, {"a row of another table": {"runs": {}}}):
        assert write_figure(experiment, records, tmp_path) == []
    assert write_figure(load("table9", "smoke"), {}, tmp_path) == []
    assert not list(tmp_path.iterdir())
    assert set(DRAWINGS) == set(MEASURES)


def test_runs_without_the_measure_are_not_drawn():
    experiment = load("figure6", "smoke")
    records = make_records(experiment)
    first, second = list(records)[:2]
    records[first] = {"runs": {"0": {"accuracy": 0.5}, "1": {"failed": "NaN"}}}
    assert list(read_measured(experiment, records)) == [second]


def test_seeds_that_were_not_asked_for_are_not_drawn():
    experiment = load("figure6", "smoke")
    records = make_records(experiment, seeds=5)
    assert {len(runs) for runs in read_measured(experiment, records).values()} == {2}
    assert {len(runs) for runs in read_measured(experiment, records, 3).values()} == {3}


@pytest.mark.parametrize("name, function", [("learning", draw_learning), ("rates", draw_rates)])
@pytest.mark.parametrize("run", [None, {"failed": "NaN"}, {"accuracy": 0.5}])
def test_a_mean_over_the_seeds_is_not_drawn_if_a_run_is_missing(name, function, run):
    experiment = load({"learning": "figure3", "rates": "figure6"}[name], "smoke")
    records = make_records(experiment)
    first, *others = records
    runs = {"0": records[first]["runs"]["0"]} | ({"1": run} if run else {})
    records[first] = {"runs": runs}
    found = function(read_measured(experiment, records))
    labels = {line.get_label() for axes in found.axes for line in axes.lines}
    labels |= {text.get_text() for legend in found.legends for text in legend.texts}
    assert not any(label.startswith(first) for label in labels)
    assert all(any(label.startswith(other) for label in labels) for other in others)


def draw(function, key: str, *others: dict):
    return function({"a": [MEASURES[key], *others], "b": [MEASURES[key]]})


def test_learning_curves_are_means_over_the_seeds():
    other = MEASURES["learning"] | {"train_loss_curve": [4.0, 2.0]}
    loss, _, test = draw(draw_learning, "learning", other).axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[3.0, 1.5], [2.0, 1.0]]
    # The first epoch was not evaluated.
    assert [line.get_xydata().tolist() for line in test.lines] == [[[2.0, 50.0]]] * 2
    assert [text.get_text() for text in draw(draw_learning, "learning").legends[0].texts] == [
        "a, mean of 1 seed",
        "b, mean of 1 seed",
    ]


def test_rates_are_means_over_the_seeds_by_layer_and_by_step():
    other = {"rates": {"PIT_0": [0.3, 0.4], "PIT_1": [0.5, 0.6]}, "rate_samples": 200}
    layers, steps = draw(draw_rates, "rates", other).axes
    assert layers.lines[0].get_ydata() == pytest.approx([25, 45])
    assert steps.lines[0].get_ydata() == pytest.approx([30, 40])
    assert steps.lines[1].get_ydata() == pytest.approx([20, 30])
    assert "200 samples" in layers.get_ylabel()


def test_scales_are_drawn_before_and_after_training():
    panels = draw(draw_scales, "scales").axes
    assert [axes.get_title(loc="left") for axes in panels] == ["a, seed 0", "b, seed 0"]
    start, now = (container.lines[0].get_ydata().tolist() for container in panels[0].containers)
    assert (start, now) == ([0.8, 0.8], [0.7, 1.0])


def test_landscapes_and_membranes_have_a_panel_for_each_case():
    titles = [axes.get_title() for axes in draw(draw_landscape, "landscape").axes]
    assert titles[:2] == ["a\nseed 0", "b\nseed 0"]
    titles = [axes.get_title(loc="left") for axes in draw(draw_membranes, "membranes").axes]
    assert titles == ["a, seed 0\nbandwidth 0.1", "b, seed 0\nbandwidth 0.1"]


def test_the_use_of_levels_is_a_stacked_bar_for_each_case(tmp_path):
    binary = {"integers": [0, 1], "shares": [0.8, 0.2], "effective": 1.65}
    binary |= {"rounding_error": None, "samples": 256}
    measured = {"a": [MEASURES["levels"]], "b": [{"levels": binary}]}
    [axes] = draw_levels(measured).axes
    ones, twos = axes.containers
    assert [bar.get_width() for bar in ones] == pytest.approx([20, 20])
    assert [(bar.get_x(), bar.get_width()) for bar in twos] == [(20, 10), (20, 0)]
    assert [text.get_text() for text in axes.texts] == [" 2.23, 1.25", " 1.65"]


def test_only_tables_that_measured_them_have_a_picture_of_levels(tmp_path):
    records = {}
    for name in ("table8", "figure4"):
        experiment = load(name, "smoke")
        records = {
            case.label: {"runs": {"0": {"measures": MEASURES["levels"]}}}
            for case in experiment.cases
        }
        files = write_figure(experiment, records, tmp_path)
        assert [file.name for file in files] == (["table8_levels.png"] if name == "table8" else [])


def test_a_figure_without_the_measure_of_its_cases_is_none():
    for name, function in DRAWINGS.items():
        assert function({"a": [{"other": 1.0}]}) is None, name
    assert figures.read_measured(load("figure3", "smoke"), {}) == {}
