"""The plain loop over time, `lax.scan` with JAX's own gradient, in place of `over_time`."""

import importlib
from contextlib import ExitStack, contextmanager
from unittest import mock

from pit_jax.neurons.scan import run_over_time

MODULES = ("binary", "clif", "glif", "integer", "pit", "ternary")


def scan_over_time(fire, x, *, per_step=(), shared=(), extra=0, straight=4, checkpoint_every=None):
    """Return membranes and outputs as `over_time` does."""

    def step(after, current, *rows):
        remain, *rest = after
        u = remain + current
        *after, out = fire(u, *rest, *rows, *shared)
        return tuple(after), (u, out)

    return run_over_time(
        step, x, *per_step, state=lambda rest: (rest,) * (1 + extra), unroll=straight
    )


@contextmanager
def plain_loop():
    """Let all neurons run in the plain loop while the block runs."""
    with ExitStack() as stack:
        for name in MODULES:
            module = importlib.import_module(f"pit_jax.neurons.{name}")
            stack.enter_context(mock.patch.object(module, "over_time", scan_over_time))
        yield
