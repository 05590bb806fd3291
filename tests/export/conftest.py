"""Compile the programs of the quick tests quickly, as in the tests of inference."""

from tests.inference.conftest import (  # noqa: F401
    _compile_quickly,
    _compile_slow_tests_fully,
    all_optimizations,
)
