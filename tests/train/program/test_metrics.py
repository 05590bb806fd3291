"""The metrics of config.metrics: their values, their names, and errors before a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.tiny import get_config
from train import data
from train.data import Dataset
from train.errors import UserError
from train.program.metrics import METRICS, describe_skipped_metrics, make_metrics
from train.program.program import make_program
from train.session import check_parts

HERE = "tests.train.program.test_metrics"
CONSTANT = 7
LOGITS = np.array(
    [
        [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 8]],
        [[6, 5, 4, 3, 2, 1, 0], [6, 5, 4, 3, 2, 1, 0]],
    ],
    np.float32,
)
LABELS = np.array([1, 2])


def share_of_time(logits, labels):
    """Return a value that depends on every axis of the logits."""
    del labels
    return (logits[:, 0] > logits[:, 1]).mean()


def loss(logits, labels):
    return logits.mean()


def per_sample(logits, labels):
    return logits.mean(axis=(1, 2))


def pair(logits, labels):
    return logits.mean(), labels.mean()


def broken(logits, labels):
    raise ValueError("no such thing\nand more")


def traced(logits, labels):
    return float(logits.mean())


class Nested:
    @staticmethod
    def margin(logits, labels):
        return logits.max() - logits.min()


def make_config(*metrics: str):
    config = get_config()
    with config.unlocked():
        config.metrics = metrics
    return config


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return data.load(**get_config().data)


def test_the_values_of_our_metrics():
    scores = LOGITS.mean(axis=1)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    want = {
        "entropy": -(p * np.log(p)).sum(axis=1),
        "margin": np.array([2.0, 1.0]),
        "negative_log_likelihood": -np.log(p[np.arange(2), LABELS]),
        "top5": np.array([0.0, 1.0]),
    }
    assert want.keys() == METRICS.keys()
    for name, metric in METRICS.items():
        for i, value in enumerate(want[name]):
            got = metric(LOGITS[i : i + 1], LABELS[i : i + 1])
            np.testing.assert_allclose(got, value, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(metric(LOGITS, LABELS), want[name].mean(), rtol=1e-5)


def test_the_fifth_largest_is_among_the_first_five_and_the_sixth_is_not():
    for label, among in ((2, 1), (1, 0)):
        assert METRICS["top5"](LOGITS[:1], np.array([label])) == among


def test_a_class_without_probability_adds_nothing_to_the_entropy():
    logits = jnp.array([[[0.0, 0.0, -jnp.inf]]])
    np.testing.assert_allclose(METRICS["entropy"](logits, LABELS[:1]), np.log(2), rtol=1e-6)


def test_a_metric_is_named_by_the_end_of_its_path():
    paths = ("top5", f"{HERE}:share_of_time", f"{HERE}:Nested.margin")
    found = make_metrics(make_config(*paths))
    assert list(found) == ["top5", "share_of_time", "Nested.margin"]
    assert found["share_of_time"] is share_of_time


def test_a_config_without_the_key_has_no_metrics():
    config = get_config()
    with config.unlocked():
        if "metrics" in config:
            del config.metrics
    assert make_metrics(config) == {}


def test_top5_is_skipped_below_six_classes_with_a_line():
    config = make_config("top5", "entropy", f"{HERE}:share_of_time")
    assert list(make_metrics(config, 6)) == ["top5", "entropy", "share_of_time"]
    assert list(make_metrics(config, 5)) == ["entropy", "share_of_time"]
    line = "top5 is not measured, because with 5 classes every label is among the first five"
    assert describe_skipped_metrics(config, 5) == f"config.metrics: {line}"
    assert describe_skipped_metrics(config, 6) == ""
    assert describe_skipped_metrics(make_config("entropy"), 5) == ""


@pytest.mark.parametrize(
    "metrics, refused",
    [
        (("top6",), "config.metrics has 'top6'; it can have entropy, margin, negative_log_lik"),
        (("top5", "top5"), "config.metrics: two metrics have the name 'top5'"),
        ((f"{HERE}:loss",), "config.metrics: every record already has the name 'loss'"),
        ((f"{HERE}:CONSTANT",), f"'{HERE}:CONSTANT', which cannot be called"),
        ((f"{HERE}:nothing",), f"'{HERE}:nothing'"),
        (("no_such_package:f",), "no_such_package"),
    ],
)
def test_the_error_for_an_unknown_metric_comes_before_data_are_loaded(metrics, refused):
    with pytest.raises(UserError) as error:
        check_parts(make_config(*metrics))
    assert str(error.value).startswith("config.metrics") and refused in str(error.value)


@pytest.mark.parametrize(
    "name, refused",
    [
        ("broken", "broken fails on logits [1, 2, 10] and labels [1]: no such thing"),
        ("traced", "traced fails on logits [1, 2, 10] and labels [1]: "),
        ("per_sample", "per_sample must return a scalar for a batch of one sample, such as"),
        ("pair", "pair must return a scalar for a batch of one sample, such as"),
    ],
)
def test_the_error_for_a_metric_without_a_scalar_result_comes_before_training(
    name, refused, dataset, compiled
):
    with pytest.raises(UserError) as error:
        make_program(make_config(f"{HERE}:{name}"), dataset, devices=jax.devices()[:1])
    assert str(error.value).startswith(f"config.metrics: {refused}")
    assert "and more" not in str(error.value) and compiled == []


def test_metrics_are_means_over_the_split_without_padding(dataset):
    paths = (*METRICS, f"{HERE}:share_of_time")
    devices = jax.devices()[:1]
    program = make_program(make_config(*paths), dataset, devices=devices)
    state = program.first_state()
    found = program.evaluate(state)
    plain = make_program(make_config(), dataset, devices=devices).evaluate(state)
    assert (found.loss, found.accuracy, found.rates) == plain[:3] and plain.metrics == {}
    assert list(found.metrics) == sorted([*METRICS, "share_of_time"])
    # The loss is the cross-entropy of the mean logits. 40 samples fill one batch of 32 and part of
    # another.
    assert found.metrics["negative_log_likelihood"] == pytest.approx(found.loss, rel=1e-6)
    assert found.metrics["top5"] * 40 == pytest.approx(round(found.metrics["top5"] * 40))
    assert 0 < found.metrics["entropy"] <= np.log(10) + 1e-6 and found.metrics["margin"] > 0
