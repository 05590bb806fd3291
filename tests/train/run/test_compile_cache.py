"""Compiled programs are kept in a folder and taken from there, whole ones only."""

from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from train.run.compile_cache import use_compile_cache

# Whatever the time to compile, a program is stored.
ALL = 0.0

_hits: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _listen() -> None:
    def note(event: str, **about: object) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            _hits.append(event)

    jax.monitoring.register_event_listener(note)


@pytest.fixture(autouse=True)
def _no_cache_is_left() -> Iterator[None]:
    yield
    assert jax.config.jax_compilation_cache_dir is None


def hits_of_a_compilation() -> int:
    """Compiles a function, which is new to JAX though its program is not; counts what was found."""

    def heavy(x):
        return jnp.tanh(x @ x).sum()

    x = jax.ShapeDtypeStruct((7, 7), jnp.float32)
    _hits.clear()
    assert jax.jit(heavy).lower(x).compile()(jnp.zeros((7, 7))) == 0
    return len(_hits)


def entry(folder: Path) -> Path:
    (file,) = folder.glob("jit_heavy-*-cache")
    return file


def test_a_program_is_compiled_once_for_all_processes(tmp_path):
    with use_compile_cache(tmp_path / "compiled", ALL):
        assert hits_of_a_compilation() == 0
    with use_compile_cache(tmp_path / "compiled", ALL):
        assert hits_of_a_compilation() > 0
    assert hits_of_a_compilation() == 0  # Not kept outside.


def test_a_part_of_a_program_is_removed_and_made_anew(tmp_path):
    with use_compile_cache(tmp_path, ALL):
        hits_of_a_compilation()
    whole = entry(tmp_path).read_bytes()
    entry(tmp_path).write_bytes(whole[: len(whole) // 2])
    with use_compile_cache(tmp_path, ALL):  # JAX would warn, which fails here.
        assert not list(tmp_path.glob("jit_heavy-*"))
        hits_of_a_compilation()
    assert len(entry(tmp_path).read_bytes()) > len(whole) // 2


def test_a_folder_that_the_user_chose_is_left_to_them(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    try:
        with use_compile_cache(tmp_path / "ours", ALL):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "theirs")
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    assert not (tmp_path / "ours").exists()
