"""Checkpoints that other programs read."""

import numpy as np
import pytest

from tests.train.helpers import get_bits, load_newest_state, make_program_on
from tests.train.tiny_finished import get_config
from train.errors import UserError
from train.run import restore


def test_a_restored_checkpoint_has_the_bits_that_training_saved(finished_run):
    program = make_program_on(1, get_config())
    restored = restore.load_state(finished_run, "last", program.abstract_state)
    assert get_bits(restored) == get_bits(load_newest_state(finished_run, program))


def test_scales_can_be_loaded_alone(finished_run):
    params = restore.load_variables(finished_run, "last")["params"]
    found = restore.load_scales(finished_run, "last")
    assert set(found) == {"stage1_block1/PIT_0", "stage1_block1/PIT_1", "PIT_0"}
    assert (found["PIT_0"] == np.asarray(params["PIT_0"]["a"])).all()


def test_without_a_checkpoint_nothing_is_loaded(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint yet"):
        restore.find_checkpoint(tmp_path, "best")
    assert restore.load_scales(tmp_path, "last") == {}
