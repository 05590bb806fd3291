"""Fixtures of the tests of spike-driven inference."""

from collections.abc import Iterator
from functools import partial

import jax
import pytest

from tests.helpers import QUICK_OPTIONS


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly() -> Iterator[None]:
    """Compile with few optimizations, which takes a quarter of the time.

    Programs are exact in integers, so their bits do not depend on it. The tests of docs, exports
    and the trainer run programs with all optimizations.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", partial(jax.jit, compiler_options=QUICK_OPTIONS))
        yield
