"""Made once: arrays from several processes, taken up again after a kill, and refused nowhere."""

from functools import partial

import numpy as np
import pytest

from train.data.cache import SHARD, cached
from train.errors import UserError

COUNT = 2 * SHARD + 5


def squares(which: range) -> np.ndarray:
    return np.array([[i * i] for i in which])


def counted(log, which: range) -> np.ndarray:
    with log.open("a") as file:
        file.write(f"{which.start}\n")
    return squares(which)


def killed(log, which: range) -> np.ndarray:
    if which.start == SHARD:
        raise KeyboardInterrupt
    return counted(log, which)


def test_processes_make_shards_that_join_in_order(tmp_path):
    made = cached(tmp_path, "squares", {}, COUNT, squares, workers=2)
    assert np.array_equal(made, squares(range(COUNT)))


def test_after_a_kill_only_what_is_missing_is_made(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "squares", {}, COUNT, partial(killed, log), workers=1)
    assert log.read_text().split() == ["0"]
    made = cached(tmp_path, "squares", {}, COUNT, partial(counted, log), workers=1)
    assert np.array_equal(made, squares(range(COUNT)))
    assert log.read_text().split() == ["0", str(SHARD), str(2 * SHARD)]
    cached(tmp_path, "squares", {}, COUNT, partial(counted, log), workers=1)
    assert len(log.read_text().split()) == 3


def test_what_depends_on_something_else_lies_elsewhere(tmp_path):
    cached(tmp_path, "squares", {"power": 2}, 3, squares, workers=1)
    cubes = cached(tmp_path, "squares", {"power": 3}, 3, lambda r: squares(r) * 2, workers=1)
    assert np.array_equal(cubes, squares(range(3)) * 2)
    assert len(list(tmp_path.glob("squares-*/key.json"))) == 2


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write the cache .*cache_dir=DIR"):
        cached(tmp_path / "file", "squares", {}, 3, squares, workers=1)
