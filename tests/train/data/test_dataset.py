from pathlib import Path

import numpy as np
import pytest

from train.data import DATASETS, DataNotFound, load
from train.data.dataset import check_labels
from train.errors import UserError


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_data_sets_without_files_load_by_name(name):
    dataset = load(name)
    assert dataset.name == name
    for split in (dataset.train, dataset.test):
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        assert split.images.shape[0] == len(split.labels)
        assert split.images.shape[3] == len(dataset.mean) == len(dataset.std)


def test_options_are_passed_to_the_data_set():
    assert load("synthetic", num_test=3).test.images.shape == (3, 8, 8, 1)


@pytest.mark.parametrize("shape", [(5, 6, 3), [5, 6, 3]])
def test_a_shape_can_be_a_tuple_or_a_list(shape):
    dataset = load("synthetic", shape=shape)
    assert dataset.train.shape == (5, 6, 3) and len(dataset.mean) == 3


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 0), 5, "5", (5, 6, 1.5)])
def test_invalid_shapes_are_refused(shape):
    with pytest.raises(UserError, match=r"synthetic needs a shape .H, W, C., .*got shape="):
        load("synthetic", shape=shape)


def test_the_error_for_an_unknown_name_has_the_nearest_and_all_names():
    with pytest.raises(UserError, match="name is 'cifar-10'; .*Did you mean 'cifar10'") as error:
        load("cifar-10")
    assert all(name in str(error.value) for name in DATASETS)


def test_the_error_for_an_unknown_option_has_the_known_ones():
    with pytest.raises(UserError, match="config.data has no key 'sede'; synthetic takes .*seed"):
        load("synthetic", sede=1)
    with pytest.raises(UserError, match="digits takes data_dir, train_images, validation"):
        load("digits", seed=1)


def test_data_not_found_has_the_name_the_places_and_the_way_to_get_it():
    places = [(Path("data/things.gz"), "the archive"), (Path("/things"), "its folder")]
    message = str(DataNotFound("things", places, "curl https://things"))
    assert "'things' was not found" in message
    assert f"{Path.cwd()}/data/things.gz: the archive" in message
    assert "/things: its folder" in message
    assert "curl https://things" in message


@pytest.mark.parametrize("labels, wrong", [([0, 3], "3"), ([-1, 0], "-1")])
def test_the_error_for_labels_out_of_range_has_the_label(labels, wrong):
    with pytest.raises(ValueError, match=f"labels 0..2, got {wrong}"):
        check_labels(np.array(labels), 3)
