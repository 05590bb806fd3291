"""Checkpoints that other programs read."""

from pathlib import Path

import numpy as np
import pytest

from tests.train.helpers import get_bits, load_newest_state, make_program_on, take_devices
from tests.train.tiny import get_config
from train.errors import UserError
from train.loop import train
from train.run import restore


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """Return the folder of a finished run of the tiny config, on one device."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert train(get_config(), folder, devices=take_devices(1)) is not None
    return folder


def test_a_restored_checkpoint_has_the_bits_that_training_saved(workdir):
    program = make_program_on(1, get_config())
    restored = restore.load_state(workdir, "last", program.abstract_state)
    assert get_bits(restored) == get_bits(load_newest_state(workdir, program))


def test_scales_can_be_loaded_alone(workdir):
    program = make_program_on(1, get_config())
    params = restore.load_state(workdir, "last", program.abstract_state).params
    found = restore.load_scales(workdir, "last")
    assert set(found) == {"stage1_block1/PIT_0", "stage1_block1/PIT_1", "PIT_0"}
    assert (found["PIT_0"] == np.asarray(params["PIT_0"]["a"])).all()


def test_without_a_checkpoint_nothing_is_loaded(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint yet"):
        restore.find_checkpoint(tmp_path, "best")
    assert (
        restore.load_scales(tmp_path, "last") == {}
        and restore.count_saved_parameters(tmp_path) is None
    )
