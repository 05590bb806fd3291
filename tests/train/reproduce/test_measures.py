"""Measures of finished runs, and counts of full networks."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from configs.scales import Case, load
from pit_jax.analysis.energy import TABLE_3, TABLE_10, paper_table3, report
from pit_jax.analysis.membrane import Density
from tests.train.helpers import load_records
from train.analyze.__main__ import read_run
from train.reproduce import measures
from train.reproduce.counting import count
from train.reproduce.measures import list_density, measure
from train.run.reading import load_run_config


@pytest.fixture
def subject(finished_copy):
    return read_run(finished_copy, "run", load_run_config(finished_copy), "last", finished_copy)


@pytest.fixture
def drawn(monkeypatch):
    """Let runs of all seeds keep their lists."""
    monkeypatch.setattr(measures, "_is_drawn", lambda subject: True)


def test_learning_curves_are_those_of_the_records(finished_run):
    epochs = [record for record in load_records(finished_run) if "test_accuracy" in record]
    found = measure(finished_run, ["learning"])
    assert found["epochs"] == [1, 2]
    assert found["first_epoch_accuracy"] == epochs[0]["test_accuracy"]
    assert found["train_loss"] == epochs[-1]["train_loss"]
    for key in ("train_loss", "train_accuracy", "test_accuracy"):
        assert found[f"{key}_curve"] == pytest.approx([e[key] for e in epochs], rel=1e-3)


def test_a_curve_has_none_where_an_epoch_was_not_evaluated(tmp_path, monkeypatch):
    records = [
        {"step": 3, "epoch": 1, "train_loss": 2.0, "train_accuracy": 0.1},
        {"step": 6, "epoch": 2, "train_loss": 1.0, "train_accuracy": 0.2, "test_accuracy": 0.25},
    ]
    records = [record | {"images_per_second": 1.0} for record in records]
    monkeypatch.setattr(measures, "read_run_records", lambda workdir: records)
    found = measures.measure_learning(tmp_path)
    assert found["test_accuracy_curve"] == [None, 0.25]
    assert found["train_loss"] == 1.0
    assert "first_epoch_accuracy" not in found


def test_scales_are_compared_between_layers_and_with_the_start(finished_run, drawn):
    found = measure(finished_run, ["scales"])
    for key, spread in (("scales", "scale_spread"), ("scale_starts", "scale_spread_start")):
        medians = [np.median(np.log2(a)) for a in found[key].values()]
        assert found[spread] == pytest.approx(np.std(medians), abs=1e-3)
    assert list(found["scales"])[-1] == "PIT_0"  # The neuron before the head fires last.
    assert found["scales"] != found["scale_starts"]


def test_lists_are_kept_of_seed_0_only(finished_run):
    assert load_run_config(finished_run).seed != 0
    assert set(measure(finished_run, ["scales"])) == {"scale_spread", "scale_spread_start"}
    assert measure(finished_run, ["levels"]) == {}  # It is not even loaded.


def test_a_density_is_kept_at_few_points():
    at = np.linspace(-4, 4, 801)
    density = np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi)
    found = list_density(
        Density(at, density[None], 0.1, np.zeros(1), np.ones(1), np.zeros(1), samples=5)
    )
    assert len(found["at"]) == measures.POINTS and len(found["density"]) == 1
    assert np.trapezoid(found["density"][0], found["at"]) == pytest.approx(1, abs=1e-2)
    assert (found["mean"], found["sd"], found["samples"]) == ([0.0], [1.0], 5)


def test_the_trend_of_rates_is_from_the_first_to_the_last_step(finished_run):
    found = measure(finished_run, ["rates"])
    first, last = np.array(list(found["rates"].values())).mean(axis=0)
    assert found["rate_trend"] == pytest.approx(last - first, abs=1e-3) != 0
    assert found["rate_samples"] == 40


@pytest.mark.slow
def test_shares_of_levels_are_means_over_layers_and_steps(subject):
    found = measures.measure_level_use(subject)["levels"]
    firing = measures.measure_firing(
        subject.model, subject.variables, subject.batches("test", 256)
    ).values()
    expected = [each.histogram / each.histogram.sum() for each in firing]
    assert found["integers"] == [0, 1, 2, 3, 4]
    assert found["shares"] == pytest.approx(np.mean(expected, axis=0), abs=1e-3)
    assert 1 < found["effective"] < 5
    assert 1 < found["rounding_error"] < 20


@pytest.mark.slow
def test_measures_are_those_of_the_analyses(subject, finished_copy, drawn):
    names = ["energy", "membranes", "landscape:3"]
    found = json.loads(json.dumps(measure(finished_copy, names)))
    energy = report(subject.model, subject.variables, subject.batches("test", 256))
    assert found["all_energy_uj"] == pytest.approx(energy.energy / 1e6)
    rule = energy.conventions["paper_table3"]
    assert (found["s_ace_g"], found["ns_ace_g"]) == pytest.approx(
        (rule.s_ace / 1e9, rule.ns_ace / 1e9)
    )
    # The total variation distance of two densities from their mean is half of that between them.
    step = found["membranes"]["at"][1] - found["membranes"]["at"][0]
    first, second = np.array(found["membranes"]["density"])
    assert found["membranes_apart"] == pytest.approx(np.abs(first - second).sum() * step / 4, 0.1)
    losses = np.array(found["landscape"])
    assert losses.shape == (3, 3) and found["landscape_axis"] == [-1, 0, 1]
    assert found["loss_rise"] == pytest.approx(losses.mean() - losses[1, 1], rel=1e-2)


@pytest.mark.parametrize("center", [1.0, np.nan])
def test_losses_that_are_not_finite_are_null_in_json(center, subject, drawn, monkeypatch):
    losses = np.array([[2.0, np.inf, 2.0], [2.0, center, np.nan], [2.0, 2.0, 2.0]])
    surface = SimpleNamespace(losses=losses, axis=np.array([-1.0, 0.0, 1.0]))
    monkeypatch.setattr(measures, "measure_surface", lambda *_: surface)
    found = measures.measure_landscape(subject, 3)
    assert "null" in json.dumps(found, allow_nan=False)
    assert found.get("loss_rise") == (pytest.approx(13 / 7 - 1) if center == 1 else None)


def test_a_network_that_cannot_be_compiled_has_no_energy(subject, monkeypatch):
    def refuse(*_):
        raise measures.NotFoldable("A layer cannot be folded.", "Replace it.")

    monkeypatch.setattr(measures, "report", refuse)
    assert measures.measure_energy(subject) == {}


def find_counted(name: str) -> dict[str, Case]:
    return {case.row: case for case in load(name, "laptop").cases if not case.config}


def test_s_ace_of_the_full_networks_is_the_printed_one():
    cases = find_counted("table3")
    assert len(cases) == len(TABLE_3)
    for row in ("LIF 4x1, CIFAR-10", "QAT, CIFAR-10", "PIT 1x4, CIFAR-100"):
        assert count("table3", cases[row])["s_ace_g"] == pytest.approx(35.84, abs=0.005)
    # 0.56 G products, rounded as in the paper.
    assert paper_table3(0.5554e9, 0, steps=4, levels=1)[0] == pytest.approx(35.84e9)


def test_products_of_the_full_networks_are_the_printed_ones():
    cases = find_counted("table10")
    for row, printed in zip(cases, TABLE_10, strict=True):
        assert count("table10", cases[row])["macs_m"] == pytest.approx(printed.macs, abs=0.005)


@pytest.mark.slow
def test_memory_of_the_full_networks_is_measured_for_a_step_of_one_gpu():
    cases = find_counted("table5")
    # The sums in docs/theory/memory.md.
    for row, gigabytes in (
        ("LIF ResNet18 4x1, CIFAR-10", 3.54),
        ("PIT ResNet18 1x4, CIFAR-10", 0.99),
        ("PIT SEW ResNet18 1x4, ImageNet", 1.16),
    ):
        assert count("table5", cases[row])["memory_gb"] == pytest.approx(gigabytes, abs=0.005)
