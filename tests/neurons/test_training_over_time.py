"""Training with the neurons' own gradient over time against training with the plain loop."""

from contextlib import ExitStack, closing, contextmanager
from functools import partial
from unittest import mock

import jax
import numpy as np
import pytest

from pit_jax.neurons import over_time
from tests.neurons.plain import plain_loop
from tests.neurons.table import ROWS, draw_currents, make_ready, run
from tests.train.helpers import make_program_on
from tests.train.tiny import get_config

WITH_STEPS = [name for name in ROWS if name not in ("PITFull", "QAT")]
# Of all spikes. No spike of any neuron differed with JAX 0.10.
MOST_FLIPPED = 1e-3


@contextmanager
def choose(plain):
    """Let neurons traced in the block use the plain loop or their own gradient; check it."""
    with mock.patch.object(over_time, "_run", wraps=over_time._run) as own, ExitStack() as stack:
        if plain:
            stack.enter_context(plain_loop())
        yield
    assert own.called != plain


def train(config, first, plain):
    """Return the state before the first of five training steps, and what they end with."""
    program = make_program_on(1, config)
    first = first or jax.device_get(program.first_state().replace(key=None))
    state, metrics = first.replace(key=jax.random.key(0)), {}
    with choose(plain):
        step = program.compile_step()
    with closing(program.batches(0)) as batches:
        for _ in range(5):
            state, metrics = step(state, next(batches))
    return first, jax.device_get((state.params, state.batch_stats, metrics["loss"]))


@pytest.mark.parametrize("name", ["LIF", "PIT"])
def test_training_with_the_own_gradient_and_the_plain_loop_agrees_in_float64(x64, name):
    config = get_config()
    config.neuron, config.num_steps = {"name": name}, 5  # More than straight code.
    first, own = train(config, None, plain=False)
    _, plain = train(config, first, plain=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(own[0])} == {np.dtype("f8")}
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-9), own, plain)
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), first.params, own[0])
    assert max(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.parametrize("steps", [pytest.param(4, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("name", WITH_STEPS)
def test_few_spikes_differ_from_those_of_the_plain_loop_in_float32(name, steps, record_property):
    x = draw_currents((4, steps, 32, 32))
    neuron, variables = make_ready(name, x)
    counts = []
    for plain in (False, True):
        with choose(plain):
            _, probes = jax.jit(partial(run, neuron))(variables, x)
        counts.append(np.asarray(probes["count"]))
    flips, spikes = int(np.abs(counts[0] - counts[1]).sum()), int(np.abs(counts[1]).sum())
    record_property("flips", f"{flips} of {spikes}")
    print(f"flips: {name}, T = {steps}: {flips} of {spikes}")
    assert flips <= MOST_FLIPPED * spikes > 0
