"""Helpers of several test files: references in NumPy, and ways to look inside a network."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from pit_jax.jaxprs import get_shape


def count_thresholds(x: np.ndarray, levels: int) -> np.ndarray:
    """Return the sum over d = 1..levels of 1[x >= d - 1/2]: exact, since nothing is added to x."""
    reached = [x >= d - 0.5 for d in range(1, levels + 1)]
    return np.sum(reached, axis=0).astype(x.dtype)


def walk_equations(
    jaxpr: Jaxpr, inside: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every primitive in `jaxpr`, at any depth, with the primitives that contain it."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name, inside
        for inner in _inner_jaxprs(equation):
            yield from walk_equations(inner, (*inside, equation.primitive.name))


def walk_shapes(jaxpr: Jaxpr) -> Iterator[tuple[int, ...]]:
    """Yield the shape of every array computed in `jaxpr`, at any depth."""
    for equation in jaxpr.eqns:
        yield from map(get_shape, equation.outvars)
        for inner in _inner_jaxprs(equation):
            yield from walk_shapes(inner)


def _inner_jaxprs(equation: JaxprEqn) -> Iterator[Jaxpr]:
    for leaf in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: isinstance(x, ClosedJaxpr | Jaxpr)
    ):
        if isinstance(leaf, ClosedJaxpr):
            yield leaf.jaxpr
        elif isinstance(leaf, Jaxpr):
            yield leaf


def collect_by_layer(collection: dict, name: str) -> dict[str, Any]:
    """Return the leaf `name` of every layer, sown or not, by path, e.g. stage1_block1/PIT_0."""
    return {
        "/".join(path): value[0] if isinstance(value, tuple) else value
        for (*path, last), value in flatten_dict(collection).items()
        if last == name
    }


def _choose_quick_options() -> dict[str, Any]:
    """Return the compiler options of this JAX with which small programs compile fastest."""
    # XLA's newer fusions on a CPU take longer to compile than the rest of a small network; JAX 0.12
    # has no option to turn them off.
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        del options["xla_cpu_use_fusion_emitters"]
    return options


QUICK_OPTIONS = _choose_quick_options()


@contextmanager
def compile_as_users_do() -> Iterator[None]:
    """Let `jax.jit` ignore in the block that tests/conftest.py chose XLA's older code generator."""
    if "--xla_cpu_use_fusion_emitters=false" not in os.environ.get("XLA_FLAGS", ""):
        yield
        return
    jit = jax.jit

    def jit_fully(*f: Callable, compiler_options: dict[str, Any] | None = None, **kw: Any) -> Any:
        options = {**(compiler_options or {}), "xla_cpu_use_fusion_emitters": True}
        return jit(*f, compiler_options=options, **kw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", jit_fully)
        yield


@contextmanager
def compile_quickly() -> Iterator[None]:
    """Let `jax.jit` compile with little optimization in the block.

    For files of tests that compile many small functions and compare no bits with those of users.
    """
    jit = jax.jit

    def jit_quickly(*f: Callable, compiler_options: Any = None, **kw: Any) -> Any:
        return jit(*f, compiler_options=QUICK_OPTIONS, **kw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", jit_quickly)
        yield


def jit_once(f: Callable, **kw: Any) -> Callable:
    """Return `f` under jit with little optimization, for functions that run once."""
    return jax.jit(f, compiler_options=QUICK_OPTIONS, **kw)
