"""The cache of arrays: made once, by several processes, resumed after a kill."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from tests.train.helpers import ROOT
from train.data.storage.cache import SHARD, load_or_make
from train.errors import UserError

COUNT = 2 * SHARD + 5


def make_squares(which: range) -> np.ndarray:
    return np.array([[i * i] for i in which])


def make_and_log(log, which: range) -> np.ndarray:
    with log.open("a") as file:
        file.write(f"{which.start}\n")
    return make_squares(which)


def interrupt_at_second(log, which: range) -> np.ndarray:
    if which.start == SHARD:
        raise KeyboardInterrupt
    return make_and_log(log, which)


def test_shards_that_finish_in_any_order_are_joined_in_order(tmp_path, monkeypatch):
    last_is_done = threading.Event()

    def make_last_first(which: range) -> np.ndarray:
        if which.stop == COUNT:
            last_is_done.set()
        assert last_is_done.wait(timeout=60)
        return make_squares(which)

    # Threads, which start at once; processes are tested below.
    monkeypatch.setattr("train.data.storage.cache.start_pool", ThreadPoolExecutor)
    made = load_or_make(tmp_path, "squares", {}, COUNT, make_last_first, workers=3)
    assert np.array_equal(made, make_squares(range(COUNT)))


def test_only_missing_shards_are_made_after_an_interruption(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        load_or_make(tmp_path, "squares", {}, COUNT, partial(interrupt_at_second, log), workers=1)
    assert log.read_text().split() == ["0"]
    made = load_or_make(tmp_path, "squares", {}, COUNT, partial(make_and_log, log), workers=1)
    assert np.array_equal(made, make_squares(range(COUNT)))
    assert log.read_text().split() == ["0", str(SHARD), str(2 * SHARD)]
    load_or_make(tmp_path, "squares", {}, COUNT, partial(make_and_log, log), workers=1)
    assert len(log.read_text().split()) == 3


PROGRAM = """
import sys
import time
from pathlib import Path

import numpy as np

from train.data.storage.cache import SHARD, load_or_make


def make_two_shards(which):
    if which.start >= 2 * SHARD:
        time.sleep(600)  # Until it is killed.
    return np.array([[i * i] for i in which])


if __name__ == "__main__":
    load_or_make(Path(sys.argv[1]), "squares", {}, 6 * SHARD, make_two_shards, workers=2)
"""


def test_shards_of_a_killed_program_are_used_and_its_workers_end(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    cache = tmp_path / "cache"
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(cache)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        while len(list(cache.glob("*/*.npz"))) < 2 and process.poll() is None:
            time.sleep(0.02)
        process.kill()  # SIGKILL, after which nothing can be cleaned up.
    kept = {file.name for file in cache.glob("*/*.npz")}
    assert process.returncode == -signal.SIGKILL and len(kept) == 2
    deadline = time.monotonic() + 300
    while is_any_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_any_alive(process.pid)
    log = tmp_path / "log"
    made = load_or_make(cache, "squares", {}, 6 * SHARD, partial(make_and_log, log), workers=1)
    assert np.array_equal(made, make_squares(range(6 * SHARD)))
    assert log.read_text().split() == [str(i * SHARD) for i in range(2, 6)]
    assert kept < {file.name for file in cache.glob("*/*.npz")}


def is_any_alive(group: int) -> bool:
    """Return whether any process of the group exists."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_complete_cache_is_read_from_a_read_only_disk(tmp_path, monkeypatch):
    made = load_or_make(tmp_path, "squares", {}, COUNT, make_squares, workers=1)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "write_text", "write_bytes", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{name}", refuse)
    monkeypatch.setattr("os.replace", refuse)
    assert np.array_equal(
        load_or_make(tmp_path, "squares", {}, COUNT, make_squares, workers=1), made
    )
    with pytest.raises(UserError, match="Read-only file system.; choose another"):
        load_or_make(tmp_path, "squares", {"power": 3}, COUNT, make_squares, workers=1)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write to every folder"
)
def test_a_complete_cache_is_read_from_a_folder_without_write_permission(tmp_path):
    made = load_or_make(tmp_path, "squares", {}, COUNT, make_squares, workers=1)
    (folder,) = tmp_path.glob("squares-*")
    folder.chmod(0o555)
    tmp_path.chmod(0o555)
    try:
        assert np.array_equal(
            load_or_make(tmp_path, "squares", {}, COUNT, make_squares, workers=1), made
        )
    finally:
        tmp_path.chmod(0o755)
        folder.chmod(0o755)


def test_different_keys_have_different_folders(tmp_path):
    load_or_make(tmp_path, "squares", {"power": 2}, 3, make_squares, workers=1)
    cubes = load_or_make(
        tmp_path, "squares", {"power": 3}, 3, lambda r: make_squares(r) * 2, workers=1
    )
    assert np.array_equal(cubes, make_squares(range(3)) * 2)
    assert len(list(tmp_path.glob("squares-*/key.json"))) == 2


def test_the_error_for_a_folder_that_cannot_be_made_names_cache_dir(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write the cache .*cache_dir=DIR"):
        load_or_make(tmp_path / "file", "squares", {}, 3, make_squares, workers=1)


TWO = """
import sys, time
from pathlib import Path

import numpy as np

from train.data.storage.cache import SHARD, load_or_make


def make_slowly(which):
    time.sleep(0.2)
    return np.array([[i * i] for i in which])


if __name__ == "__main__":
    print(load_or_make(Path(sys.argv[1]), "squares", {}, 4 * SHARD, make_slowly, workers=1).sum())
"""


def test_two_processes_that_need_one_cache_make_it_once(tmp_path):
    (tmp_path / "program.py").write_text(TWO)
    both = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "cache")],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100) for process in both]
    total = str(make_squares(range(4 * SHARD)).sum())
    assert [out.strip() for out, _ in outputs] == [total, total]
    assert "".join(err for _, err in outputs).count("making squares once") == 1
    assert sorted(path.suffix for path in (tmp_path / "cache").rglob("*.*")) == [
        ".json",
        *[".npz"] * 4,
    ]


def test_parts_of_a_killed_process_are_removed_by_the_next(tmp_path):
    load_or_make(tmp_path, "squares", {}, 3, make_squares, workers=1)
    (folder,) = tmp_path.glob("squares-*")
    (shard,) = folder.glob("*.npz")
    shard.rename(folder / f"{shard.name}.7-abcd.part")
    load_or_make(tmp_path, "squares", {}, 3, make_squares, workers=1)
    assert [path.name for path in folder.glob("0*")] == [shard.name]


def test_a_flipped_bit_in_a_cached_shard_is_made_again(tmp_path, capsys):
    made = load_or_make(tmp_path, "squares", {}, COUNT, make_squares, workers=1)
    shard = next(tmp_path.glob("*/000000-*.npz"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    again = load_or_make(tmp_path, "squares", {}, COUNT, make_squares, workers=1)
    assert np.array_equal(again, made) and "is damaged; making it again" in capsys.readouterr().err
