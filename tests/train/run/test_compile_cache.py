"""Compiled programs are stored in one folder per user and loaded from it, complete ones only."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from os import mkfifo
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from train.run import compile_cache
from train.run.compile_cache import CheckedCache, find_folder, name_version, use_compile_cache

# Store every program, however fast it compiles.
ALL = 0.0

_hits: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _listen() -> None:
    def note(event: str, **about: object) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            _hits.append(event)

    jax.monitoring.register_event_listener(note)


@pytest.fixture(autouse=True)
def _check_no_cache_remains(no_compilation_cache) -> Iterator[None]:
    yield
    assert jax.config.jax_compilation_cache_dir is None


def count_cache_hits() -> int:
    """Compile a new function, whose program is always the same; return the hits of the cache."""

    def heavy(x):
        return jnp.tanh(x @ x).sum()

    x = jax.ShapeDtypeStruct((7, 7), jnp.float32)
    _hits.clear()
    assert jax.jit(heavy).lower(x).compile()(jnp.zeros((7, 7))) == 0
    return len(_hits)


def find_entry(folder: Path) -> Path:
    (file,) = folder.glob("*/jit_heavy-*-cache")
    return file


def test_a_program_is_compiled_once_for_all_starts(tmp_path):
    with use_compile_cache(tmp_path / "cache", ALL):
        assert count_cache_hits() == 0
    with use_compile_cache(tmp_path / "cache", ALL):
        assert count_cache_hits() > 0
    assert count_cache_hits() == 0  # Outside of the block nothing is loaded.


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    "harm",
    [
        *(flip_a_bit, cut, lambda file: file.write_bytes(b"")),
        lambda file: file.write_bytes(b"x" * 99),
        *(lambda file: (file.unlink(), file.mkdir()), lambda file: (file.unlink(), mkfifo(file))),
        lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    ],
    ids=["a flipped bit", "half", "empty", "other bytes", "a folder", "a pipe", "a device"],
)
def test_a_damaged_program_is_compiled_again_and_never_run(tmp_path, harm):
    with use_compile_cache(tmp_path, ALL):
        count_cache_hits()
    harm(find_entry(tmp_path))
    with use_compile_cache(tmp_path, ALL):  # JAX would warn, which fails here.
        assert count_cache_hits() == 0
    with use_compile_cache(tmp_path, ALL):
        assert count_cache_hits() > 0


def test_a_program_damaged_during_the_run_is_compiled_again(tmp_path):
    with use_compile_cache(tmp_path, ALL):
        count_cache_hits()
        flip_a_bit(find_entry(tmp_path))
        assert count_cache_hits() == 0


def test_a_cache_that_a_program_has_given_to_jax_is_kept(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    try:
        with use_compile_cache(tmp_path / "ours", ALL):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "theirs")
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    assert not (tmp_path / "ours").exists()


def test_a_block_inside_a_block_uses_the_same_cache(tmp_path):
    with use_compile_cache(tmp_path / "outer", ALL):
        with use_compile_cache(tmp_path / "inner", ALL):
            count_cache_hits()
        assert count_cache_hits() > 0
    assert not (tmp_path / "inner").exists()


def test_the_variable_names_the_folder_and_its_programs_are_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))  # As JAX does at import.
    try:
        with use_compile_cache(least_seconds=ALL):
            count_cache_hits()
            flip_a_bit(find_entry(tmp_path))
            assert count_cache_hits() == 0
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"HOME": "/h"}, "/h/.cache/pit_jax"),
        ("linux", {"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/pit_jax"),
        ("linux", {"HOME": "/h", "XDG_CACHE_HOME": "x"}, "/h/.cache/pit_jax"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/pit_jax"),
        ("win32", {"HOME": "/h", "LOCALAPPDATA": "/l"}, "/l/pit_jax/Cache"),
        ("linux", {"XDG_CACHE_HOME": "/x", "JAX_COMPILATION_CACHE_DIR": "/j"}, "/j"),
    ],
)
def test_the_folder_is_in_the_usual_place_of_the_system(monkeypatch, platform, variables, folder):
    for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(compile_cache.sys, "platform", platform)
    found = find_folder()
    monkeypatch.undo()  # Before pytest asks for the platform.
    assert found == Path(folder)


def test_versions_and_cpus_have_folders_of_their_own(monkeypatch):
    names = {name_version()}
    monkeypatch.setattr(compile_cache, "_read_cpu_features", lambda: "another CPU")
    names.add(name_version())
    monkeypatch.setattr("jaxlib.version.__version__", "0.0.1")
    names.add(name_version())
    assert len(names) == 3 and all("/" not in name for name in names)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_cannot_be_written_is_reported_and_the_block_runs(
    tmp_path, capsys, monkeypatch, is_there
):
    place = tmp_path / name_version()
    if is_there:
        place.mkdir()
        # Root may write anywhere.
        monkeypatch.setattr(compile_cache.os, "access", lambda path, mode: path != place)
    else:
        place.write_text("a file")
    with use_compile_cache(tmp_path, ALL):
        assert count_cache_hits() == 0
    printed = capsys.readouterr().err
    assert printed.startswith("note: compiled programs are not stored") and str(place) in printed
    assert printed.count("\n") == 1 and "JAX_COMPILATION_CACHE_DIR" in printed


def test_a_user_without_a_home_gets_a_note(monkeypatch, capsys):
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compile_cache, "find_folder", fail)
    with use_compile_cache(least_seconds=ALL):
        assert count_cache_hits() == 0
    assert "Could not determine home" in capsys.readouterr().err


def test_a_full_disk_stops_no_run(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compile_cache, "write_atomically", fail)
    with use_compile_cache(tmp_path, ALL):
        assert count_cache_hits() == 0


def make_cache(root: Path, version: str = "jaxlib-1-cpu", most_bytes: int = 350) -> CheckedCache:
    return CheckedCache(root / version, most_bytes)


def set_age(root: Path, key: str, seconds: float) -> None:
    (file,) = root.glob(f"*/{key}*")
    os.utime(file, times=(time.time() - seconds,) * 2)


def list_entries(root: Path) -> set[str]:
    return {file.name.partition("-")[0] for file in root.glob("*/*")}


def test_the_programs_used_longest_ago_are_removed(tmp_path):
    cache, old = make_cache(tmp_path), make_cache(tmp_path, "jaxlib-0-cpu")
    old.put("a", bytes(68))  # With its hash, 100 bytes.
    for age, key in ((300, "b"), (200, "c")):
        cache.put(key, bytes(68))
        set_age(tmp_path, key, age)
    set_age(tmp_path, "a", 100)
    assert cache.get("b") == bytes(68)  # Now `c` was used longest ago.
    cache.put("d", bytes(68))
    assert list_entries(tmp_path) == {"a", "b", "d"}
    cache.put("e", bytes(68))
    assert list_entries(tmp_path) == {"b", "d", "e"}


def test_only_programs_and_old_incomplete_ones_are_removed(tmp_path):
    cache = make_cache(tmp_path, most_bytes=0)
    (tmp_path / "theirs-cache").write_bytes(bytes(999))
    folder = tmp_path / "jaxlib-1-cpu"
    folder.mkdir()
    for name in ("written-cache.1-aa.part", "killed-cache.2-bb.part", "notes.txt"):
        (folder / name).write_bytes(bytes(99))
    # As if another process had removed it after the folder was listed.
    (folder / "gone-cache").symlink_to(folder / "nowhere")
    set_age(tmp_path, "killed", 2 * compile_cache.STALE_SECONDS)
    cache.put("a", bytes(68))
    assert list_entries(tmp_path) == {"written", "notes.txt", "gone"}
    assert (tmp_path / "theirs-cache").exists() and cache.get("a") is None


# Each process stores, reads and removes the same programs; a program that is read is whole.
WORK = """
import sys
from pathlib import Path
from train.run.compile_cache import CheckedCache

cache, found = CheckedCache(Path(sys.argv[1]) / "jaxlib-1-cpu", 50_000), 0
for i in range(300):
    key, value = str(i % 7), bytes([i % 7]) * 9_000
    read = cache.get(key)
    assert read in (None, value)
    found += read is not None
    cache.put(key, value)
print(found)
"""


@pytest.mark.slow
def test_processes_that_write_and_clean_at_once_read_whole_programs_only(tmp_path):
    command = [sys.executable, "-c", WORK, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert all(worker.returncode == 0 for worker in workers) and sum(found) > 0
    size = sum(file.stat().st_size for file in tmp_path.glob("*/*"))
    assert 0 < size <= 50_000 and not list(tmp_path.glob("*/*.part"))
