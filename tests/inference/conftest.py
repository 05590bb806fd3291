"""Fixtures of the tests of spike-driven inference."""

from collections.abc import Iterator

import jax
import pytest

from tests.helpers import compile_quickly

FULL_JIT = jax.jit


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly() -> Iterator[None]:
    """Compile with few optimizations, which takes a quarter of the time.

    Programs are exact in integers, so their bits do not depend on it; `all_optimizations` is for
    the tests of that.
    """
    with compile_quickly():
        yield


@pytest.fixture
def all_optimizations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile with all optimizations, as users do."""
    monkeypatch.setattr(jax, "jit", FULL_JIT)


@pytest.fixture(autouse=True)
def _compile_slow_tests_fully(request: pytest.FixtureRequest) -> None:
    """Compile with all optimizations in the slow tests, which compare all networks."""
    if request.node.get_closest_marker("slow"):
        request.getfixturevalue("all_optimizations")
