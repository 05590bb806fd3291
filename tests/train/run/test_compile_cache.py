"""Compiled programs are stored in a folder and loaded from it, complete ones only."""

from collections.abc import Iterator
from os import mkfifo
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from train.run.compile_cache import use_compile_cache

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
    (file,) = folder.glob("jit_heavy-*-cache")
    return file


def test_a_program_is_compiled_once_for_all_starts(tmp_path):
    with use_compile_cache(tmp_path / "compiled", ALL):
        assert count_cache_hits() == 0
    with use_compile_cache(tmp_path / "compiled", ALL):
        assert count_cache_hits() > 0
    assert count_cache_hits() == 0  # Outside of the block nothing is loaded.


def test_an_incomplete_entry_is_removed_and_rewritten(tmp_path):
    with use_compile_cache(tmp_path, ALL):
        count_cache_hits()
    whole = find_entry(tmp_path).read_bytes()
    find_entry(tmp_path).write_bytes(whole[: len(whole) // 2])
    with use_compile_cache(tmp_path, ALL):  # JAX would warn, which fails here.
        assert not list(tmp_path.glob("jit_heavy-*"))
        count_cache_hits()
    assert len(find_entry(tmp_path).read_bytes()) > len(whole) // 2


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        *(flip_a_bit, lambda file: file.write_bytes(b""), lambda file: file.write_bytes(b"x" * 99)),
        *(lambda file: (file.unlink(), file.mkdir()), lambda file: (file.unlink(), mkfifo(file))),
        lambda file: (file.unlink(), file.symlink_to("/dev/zero")),
    ],
    ids=["a flipped bit", "empty", "other bytes", "a folder", "a pipe", "a device"],
)
def test_a_damaged_program_is_compiled_again_and_never_run(tmp_path, harm):
    with use_compile_cache(tmp_path, ALL):
        count_cache_hits()
    harm(find_entry(tmp_path))
    with use_compile_cache(tmp_path, ALL):
        assert count_cache_hits() == 0
    with use_compile_cache(tmp_path, ALL):
        assert count_cache_hits() > 0


def test_a_program_damaged_during_the_run_is_compiled_again(tmp_path):
    with use_compile_cache(tmp_path, ALL):
        count_cache_hits()
        flip_a_bit(find_entry(tmp_path))
        assert count_cache_hits() == 0


def test_a_cache_folder_set_by_the_user_is_kept(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    try:
        with use_compile_cache(tmp_path / "ours", ALL):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "theirs")
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    assert not (tmp_path / "ours").exists()
