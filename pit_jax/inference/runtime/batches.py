"""Jit a compiled network for single samples and for batches, each with its compiler options."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from pit_jax.tuning import LEAST_BATCH, compiler_options

Run = Callable[..., Any]


def jit_for_batches(function: Run, *, static_argnums: int | None = None) -> Run:
    """Jit `function(weights, x, ...)`, with the options of batches where x has LEAST_BATCH samples.

    Inside another jitted function, its options hold: JAX refuses others there.
    """
    plain = jax.jit(function, static_argnums=static_argnums)

    @cache
    def jit_tuned() -> Run:
        options = compiler_options("evaluate")
        if options is None:
            return plain
        return jax.jit(function, static_argnums=static_argnums, compiler_options=options)

    def call(weights: Any, x: Any, *rest: Any) -> Any:
        # JAX traces what a jitted function computes from constants too. When it exports, the number
        # of samples is a symbol.
        is_traced = any(isinstance(y, jax.core.Tracer) for y in (x, jnp.zeros(())))
        if is_traced or len(x) < LEAST_BATCH:
            return plain(weights, x, *rest)
        return jit_tuned()(weights, x, *rest)

    return call
