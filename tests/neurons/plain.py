"""The plain loop over time, `lax.scan` with JAX's own gradient, in place of `over_time`."""

from contextlib import contextmanager
from unittest import mock

from pit_jax.neurons import state
from pit_jax.neurons.scan import run_from, run_over_time


def scan_over_time(fire, x, *, per_step=(), shared=(), extra=0, straight=4, checkpoint_every=None):
    """Return membranes and outputs as `over_time` does."""

    def at_rest(rest):
        return (rest,) * (1 + extra)

    return run_over_time(make_step(fire, shared), x, *per_step, state=at_rest, unroll=straight)


def scan_over_time_from(
    fire, x, state, *, per_step=(), shared=(), straight=4, checkpoint_every=None
):
    """Return membranes, outputs and the last state as `over_time_from` does."""
    last, (u, out) = run_from(make_step(fire, shared), tuple(state), x, *per_step, unroll=straight)
    return u, out, last


def make_step(fire, shared):
    def step(after, current, *rows):
        remain, *rest = after
        u = remain + current
        *after, out = fire(u, *rest, *rows, *shared)
        return tuple(after), (u, out)

    return step


@contextmanager
def plain_loop():
    """Let all neurons run in the plain loop while the block runs."""
    with (
        mock.patch.object(state, "over_time", scan_over_time),
        mock.patch.object(state, "over_time_from", scan_over_time_from),
    ):
        yield
