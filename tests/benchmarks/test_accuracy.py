"""The comparison of accuracies with tuning on and off."""

import math

import pytest

from benchmarks import accuracy


def test_the_interval_is_that_of_student():
    # For five values, t is 2.776; the standard deviation of 1 to 5 is the square root of 2.5.
    mean, half = accuracy.find_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3 and half == pytest.approx(2.776 * math.sqrt(2.5) / math.sqrt(5), rel=1e-3)
    assert accuracy.find_interval([0.5]) == (0.5, math.inf)


def test_a_difference_beyond_its_interval_is_reported():
    equal = accuracy.describe("digits", {"on": [0.9, 0.8, 0.7], "off": [0.8, 0.9, 0.7]})
    assert equal[-1].endswith("within its interval")
    better = accuracy.describe("digits", {"on": [0.9, 0.8, 0.7], "off": [0.8, 0.7, 0.6]})
    assert better[-1] == (
        "digits, on minus off: 10.00 ± 0.00 % (3 seeds, 95 %), BEYOND ITS INTERVAL"
    )


def test_what_the_file_has_is_not_trained_again(monkeypatch, tmp_path, capsys):
    trained = []

    def train(config, tuning, args, more):
        trained.append((config, tuning))
        return [0.5 + 0.1 * len(trained), 0.5]

    monkeypatch.setattr(accuracy, "train", train)
    words = ["--seeds=2", "--epochs=1", f"--out={tmp_path / 'accuracy.json'}"]
    assert accuracy.main([*words, "--configs=digits"]) == 0
    assert trained == [("digits", "on"), ("digits", "off")]
    assert accuracy.main([*words, "--configs=digits,fashion_mnist"]) == 0
    assert trained[2:] == [("fashion_mnist", "on"), ("fashion_mnist", "off")]
    assert accuracy.main([*words, "--configs=digits", "--config.batch_size=8"]) == 0
    assert len(trained) == 6
    assert capsys.readouterr().out.count("on minus off") == 4
