"""A run opened as an object agrees with the trainer and with its evaluation."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pit_jax.run import Run, open_run
from tests.train.helpers import limit_devices
from train import data
from train.data.dataset import DataNotFound, DiskSplit
from train.evaluate.measure import evaluate
from train.program.inputs import make_normalize
from train.run import opened, subset
from train.run.reading import load_run_config


@pytest.fixture(scope="module")
def run(finished_run) -> Run:
    return open_run(finished_run, "last")


def test_a_run_has_the_config_classes_and_images_of_the_trainer(run, finished_run):
    dataset = data.load(**load_run_config(finished_run).data)
    assert run.config == json.loads((finished_run / "config.json").read_text())
    assert run.classes == tuple(map(str, range(10))) and run.num_classes == 10
    for split in ("train", "test"):
        images, labels = run.images(split)
        np.testing.assert_array_equal(images, getattr(dataset, split).images)
        np.testing.assert_array_equal(labels, getattr(dataset, split).labels)
    expected = make_normalize(dataset)(dataset.test.images)
    np.testing.assert_allclose(run.normalize(images), expected, rtol=1e-6, atol=1e-6)


def test_answers_agree_with_the_evaluation_of_every_checkpoint(finished_run):
    config = load_run_config(finished_run)
    for checkpoint in ("last", "best"):
        with limit_devices(1):
            found = evaluate(config, finished_run, checkpoint, "test")
        run = open_run(finished_run, checkpoint)
        images, labels = run.images()
        confusion = np.zeros((10, 10), int)
        np.add.at(confusion, (labels, run.predict(images).argmax(axis=1)), 1)
        assert confusion.tolist() == found["confusion"]
        assert run.about["test_accuracy"] == found["accuracy"]
        assert run.about["checkpoint_sha256"] == found["checkpoint_sha256"]
        assert run.about["checkpoint"] == checkpoint and run.about["step"] == found["step"]


def test_a_run_is_used_without_its_data(finished_run, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    run = open_run(str(finished_run))
    assert run.predict(np.zeros((2, *run.shape), np.uint8)).shape == (2, 10)


def test_data_that_have_moved_are_found_with_data_dir(finished_run, monkeypatch):
    def find_nothing(**config):
        raise DataNotFound("digits", [(Path("data"), "its files")], "make")

    monkeypatch.setattr(data, "load", find_nothing)
    with pytest.raises(
        ValueError, match=r"(?s)was not found.*If they have moved, .* data_dir=PLACE"
    ):
        open_run(finished_run).images()


def test_a_run_of_an_older_version_loads_its_data(run, finished_run, monkeypatch):
    # Its data.json has no key of this name.
    monkeypatch.setattr(subset, "INPUT", "absent")
    again = open_run(finished_run, "last")
    assert (again.shape, again.mean, again.std) == (run.shape, run.mean, run.std)
    images, _ = run.images()
    np.testing.assert_array_equal(again.predict(images), run.predict(images))


def test_a_damaged_record_of_the_data_is_named(finished_run, monkeypatch):
    record = {"input": {"shape": [8, 8, "x"], "dtype": "uint8"}}
    monkeypatch.setattr(subset, "read_json_or_copy", lambda file: record)
    with pytest.raises(ValueError, match="data.json is damaged .*restore it, or move it away"):
        open_run(finished_run)


def test_missing_splits_and_checkpoints_are_named(run, finished_copy):
    with pytest.raises(ValueError, match="no validation images: its config.data.validation"):
        run.images("validation")
    with pytest.raises(ValueError, match="split must be train, test or validation, got 'all'"):
        run.images("all")
    shutil.rmtree(finished_copy / "best")
    with pytest.raises(ValueError, match="best has no checkpoint yet"):
        open_run(finished_copy)
    assert open_run(finished_copy, "last").about["checkpoint"] == "last"


def test_some_samples_on_disk_are_read_evenly_spaced_and_too_many_refused(monkeypatch):
    def read(index, rng):
        return np.full((2, 2, 1), index, np.uint8), index % 2

    split = DiskSplit((4, 5), (2, 2, 1), read, 0, lambda: None)
    images, labels = opened.take_samples(split, 3)
    assert images[:, 0, 0, 0].tolist() == [0, 4, 8] and labels.tolist() == [0, 0, 0]
    assert len(opened.take_samples(split)[0]) == 9
    huge = DiskSplit((10**9,), (512, 512, 3), read, 0, lambda: None)
    with pytest.raises(ValueError, match="1,000,000,000 images need at least"):
        opened.take_samples(huge)
