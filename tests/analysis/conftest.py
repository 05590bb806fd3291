"""Fixtures of the tests of analyses."""

from collections.abc import Iterator

import jax
import pytest

# They compare bits of different programs.
FULLY_OPTIMIZED = ("test_landscape", "test_recorder")


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile with few optimizations: these tests run each program once or twice."""
    quick = request.module.__name__.rpartition(".")[2] not in FULLY_OPTIMIZED
    jax.config.update("jax_disable_most_optimizations", quick)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
