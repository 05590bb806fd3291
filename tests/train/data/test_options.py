"""Every option that a config can set has a description and a type."""

import inspect

import pytest

from train.config.docstrings import read_arguments
from train.data import DATASETS, load
from train.data.augment import (
    MIXES,
    POLICIES,
    cutout,
    pad_crop,
    random_erasing,
    roll_frames,
    rotate_frames,
)
from train.program.inputs import smooth

# Arguments that the program passes itself.
STAGE = ("key", "images", "frames", "labels", "num_classes")
FUNCTIONS = [
    *((name, function, ("data_dir",)) for name, function in DATASETS.items()),
    ("load", load, ("name", "options")),
    *((name, function, STAGE) for name, function in (POLICIES | MIXES).items()),
    *(
        (function.__name__, function, STAGE)
        for function in (cutout, pad_crop, random_erasing, roll_frames, rotate_frames, smooth)
    ),
]


@pytest.mark.parametrize("name, function, given", FUNCTIONS, ids=[name for name, *_ in FUNCTIONS])
def test_every_option_has_a_description_and_a_type(name, function, given):
    parameters = inspect.signature(function, eval_str=True).parameters
    options = {key: each for key, each in parameters.items() if key not in given}
    meanings = read_arguments(function)
    assert list(meanings) == list(options)
    for key, meaning in meanings.items():
        # One or two lines of --help.
        assert meaning.endswith(".") and 10 < len(meaning) < 180, key
        assert options[key].annotation is not inspect.Parameter.empty, key


def test_n_mnist_accepts_the_options_of_event_configs():
    options = inspect.signature(DATASETS["n_mnist"]).parameters
    assert options["num_frames"].default == 10
    assert {"num_frames", "split_by", "cache_dir"} <= set(options)
