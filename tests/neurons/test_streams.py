"""Streams in chunks equal one call, in spikes, states, gradients; memory does not grow."""

import re
from contextlib import nullcontext
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.neurons import LIF, PIT, MembraneState
from pit_jax.neurons.scale import lsq, released
from tests.helpers import compile_as_users_do, jit_once
from tests.neurons.plain import plain_loop
from tests.neurons.streams import (
    NAMES,
    WITH_A_MEMBRANE,
    WITH_ROWS,
    make,
    run_in_chunks,
    run_stream,
)
from tests.neurons.table import draw_currents, init, run
from tests.neurons.test_over_time import find_loop_bodies

slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize("sizes", [(3, 1, 3), slow((1,) * 7), slow((2, 5))])
@pytest.mark.parametrize("name", [slow(name) if name == "PITFull" else name for name in NAMES])
def test_a_stream_in_chunks_equals_one_call(x64, name, sizes):
    x = draw_currents((2, 7, 2, 3), jnp.float64)
    neuron, variables = make(name, x)
    y, probes = jit_once(partial(run, neuron))(variables, x)
    chunked, membranes, state = run_stream(neuron, variables, x, sizes)
    np.testing.assert_array_equal(chunked, y)
    assert y.any() and state.neuron == name
    if name != "ReLU":
        np.testing.assert_allclose(membranes, probes["membrane"], rtol=0, atol=1e-12)
    assert (state.membrane is not None) == (name in WITH_A_MEMBRANE)
    assert (state.steps is not None) == (name in WITH_ROWS)
    if name in WITH_ROWS:
        assert state.steps == 7
    *_, whole = run_stream(neuron, variables, x, (7,))
    chex.assert_trees_all_close(state, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["LIF", "ILIF", "PIT"])
def test_float32_spikes_of_chunks_have_the_bits_of_one_call(name):
    # With a decay of 1/2 no fused multiplication and addition rounds differently.
    x = draw_currents((4, 12, 8, 8))
    neuron, variables = make(name, x)
    y, _, _ = run_stream(neuron, variables, x, (5, 1, 6))
    np.testing.assert_array_equal(y, jit_once(neuron.apply)(variables, x))


@pytest.mark.parametrize(
    "name", ["LIF", "PIT", *map(slow, sorted({*WITH_A_MEMBRANE} - {"LIF", "PIT"}))]
)
def test_a_thousand_steps_one_at_a_time_equal_one_call(x64, name):
    x = draw_currents((1, 1000, 3), jnp.float64)
    neuron, variables = make(name, x)

    @jit_once
    def run_by_step(variables, x):
        def step(state, current):
            y, state = neuron.apply(variables, current[:, None], state, True)
            return state, y[:, 0]

        start = neuron.apply(variables, x[:, :1], None, True)[1]
        state = jax.tree.map(jnp.zeros_like, start)
        state, y = jax.lax.scan(step, state, jnp.moveaxis(x, 1, 0))
        return jnp.moveaxis(y, 0, 1), state

    y, state = run_by_step(variables, x)
    want, last = jit_once(lambda v, x: neuron.apply(v, x, None, True))(variables, x)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(y, jit_once(neuron.apply)(variables, x))
    chex.assert_trees_all_close(state, last, rtol=0, atol=1e-12)


@partial(jit_once, static_argnums=(0, 4, 5))
def differentiate(neuron, variables, x, state, sizes, plain):
    """Return outputs, and gradients for parameters, currents and the floats of the first state."""
    floats = {name: getattr(state, name) for name in ("membrane", "potential")}

    def loss(params, x, floats):
        start = state.replace(**floats)
        y, u, last = run_in_chunks(neuron, variables | params, x, sizes, start)
        weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        ends = [end for end in (last.membrane, last.potential) if end is not None]
        total = jnp.sum(weights * y) + jnp.sum(weights[:, ::-1] * u**2)
        return total + sum(jnp.sum(jnp.sin(3 * end)) for end in ends), y

    params = {"params": variables.get("params", {})}
    with plain_loop() if plain else nullcontext():
        return jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(params, x, floats)


@pytest.mark.parametrize(
    "sizes, every, unroll",
    [((2, 5), None, 4), slow((7,), 3, 1), slow((1, 6), 2, 4), slow((3, 4), None, 1)],
)
@pytest.mark.parametrize(
    "name",
    ["PLIF", "CLIF", "PIT", *map(slow, ("IF", "LIF", "GLIF", "ILIF", "RealSpike", "Ternary"))],
)
def test_gradients_through_chunks_equal_those_of_the_plain_loop(x64, name, sizes, every, unroll):
    x = draw_currents((2, 7, 2, 3), jnp.float64)
    neuron, variables = make(name, x)
    state = first_state(neuron, variables, x)
    (want_loss, want_y), want = differentiate(neuron, variables, x, state, (7,), True)
    own = neuron.clone(checkpoint_every=every, unroll=unroll)
    (loss, y), grads = differentiate(own, variables, x, state, sizes, False)
    np.testing.assert_array_equal(y, want_y)
    chex.assert_trees_all_close((loss, grads), (want_loss, want), rtol=1e-13, atol=1e-12)
    assert want[2]["membrane"].any() and (name != "CLIF" or want[2]["potential"].any())


def first_state(neuron, variables, x):
    """Return a state with drawn membranes in which no step has been taken."""
    state = jit_once(lambda v, x: neuron.apply(v, x, None, True)[1])(variables, x)
    drawn = {
        name: 0.5 + draw_currents(x[:, 0].shape, x.dtype, seed)
        for seed, name in enumerate(("membrane", "potential"), 3)
        if getattr(state, name) is not None
    }
    return jax.tree.map(np.zeros_like, state).replace(**drawn)


@pytest.mark.parametrize("name", [slow("PITFull"), "NormedLIF"])
def test_gradients_through_chunks_of_neurons_in_the_plain_loop_equal_those_of_one_call(x64, name):
    x = draw_currents((2, 4, 2, 3), jnp.float64)
    neuron, variables = make(name, x)
    state = first_state(neuron, variables, x)
    one, chunks = (
        differentiate(neuron, variables, x, state, sizes, False) for sizes in ((4,), (1, 3))
    )
    chex.assert_trees_all_close(chunks, one, rtol=1e-13, atol=1e-12)
    assert one[1][2]["membrane"].any()


@pytest.mark.parametrize("parametrize", [lsq, slow(released)])
def test_gradients_of_a_scale_are_the_sums_over_chunks(x64, parametrize):
    x = draw_currents((2, 6, 3), jnp.float64)
    neuron = PIT(parametrize=parametrize)
    variables = init(neuron, x)
    state = first_state(neuron, variables, x)
    one, chunks = (
        differentiate(neuron, variables, x, state, sizes, False) for sizes in ((6,), (4, 2))
    )
    chex.assert_trees_all_close(chunks, one, rtol=1e-13, atol=1e-12)


def test_a_state_that_nobody_uses_afterwards_costs_no_gradient(x64):
    # The state is 0 or not returned: the gradient equals the gradient at rest.
    x = draw_currents((2, 5, 3), jnp.float64)
    at_rest, without, unused = (
        jit_once(jax.grad(lambda x, call=call: jnp.sum(jnp.sin(x * call(x)))))(x)
        for call in (
            lambda x: LIF().apply({}, x),
            lambda x: LIF().apply({}, x, MembraneState("LIF", jnp.zeros_like(x[:, 0]))),
            lambda x: LIF().apply({}, x, None, True)[0],
        )
    )
    np.testing.assert_allclose(without, at_rest, rtol=0, atol=1e-15)
    np.testing.assert_allclose(unused, at_rest, rtol=0, atol=1e-15)


def make_truncated(neuron):
    """Return a function for the gradient of chunks `[n, B, T, ..., C]`, truncated after each."""

    def differentiate(variables, chunks):
        def loss(variables, state, chunk):
            y, state = neuron.apply(variables, chunk, state, True)
            return jnp.sum(jnp.square(y - 0.25)), state

        def step(carry, chunk):
            state, total = carry
            grad, state = jax.grad(loss, has_aux=True)(variables, state, chunk)
            return (state, jax.tree.map(jnp.add, total, grad)), None

        start = jax.eval_shape(lambda: neuron.apply(variables, chunks[0], None, True)[1])
        rest = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), start)
        first = (rest, jax.tree.map(jnp.zeros_like, variables))
        return jax.lax.scan(step, first, chunks)[0][1]

    return differentiate


def test_memory_of_truncated_backpropagation_does_not_grow_with_the_stream():
    neuron = PIT()
    variables = {"params": {"a": jnp.ones((1, 16))}}

    def measure(f, *shape):
        x = jax.ShapeDtypeStruct((*shape, 32, 16), jnp.float32)
        return jax.jit(f).lower(variables, x).compile().memory_analysis().temp_size_in_bytes

    def full(variables, x):
        return jax.grad(lambda v: jnp.sum(jnp.square(neuron.apply(v, x) - 0.25)))(variables)

    truncated = make_truncated(neuron)
    short, long = (measure(truncated, chunks, 8, 8) for chunks in (4, 32))
    assert long == short
    assert 4 * long < measure(full, 8, 32 * 8)


def test_truncated_gradients_are_those_of_chunks_with_constant_states(x64):
    x = draw_currents((2, 6, 3), jnp.float64)
    neuron, variables = make("PIT", x)
    chunks = jnp.stack(jnp.split(x, 3, axis=1))

    def loss(variables):
        total, state = 0.0, None
        for chunk in chunks:
            y, state = neuron.apply(variables, chunk, jax.lax.stop_gradient(state), True)
            total += jnp.sum(jnp.square(y - 0.25))
        return total

    want = jit_once(jax.grad(loss))(variables)
    got = jit_once(make_truncated(neuron))(variables, chunks)
    chex.assert_trees_all_close(got, want, rtol=1e-12)


@pytest.mark.parametrize("name", ["LIF", *map(slow, ("PIT", "CLIF"))])
def test_compiled_loops_with_a_state_copy_no_whole_array(name):
    x = draw_currents((8, 10, 16, 64))
    neuron, variables = make(name, x)
    state = jax.eval_shape(lambda: neuron.apply(variables, x, None, True)[1])

    def train(variables, x, state, g):
        out, pull = jax.vjp(lambda v, x: neuron.apply(v, x, state, True), variables, x)
        return out, pull((g, jax.tree.map(match_gradient, state)))

    with compile_as_users_do():
        compiled = jax.jit(train).lower(variables, x, state, x).compile()
    bodies = find_loop_bodies(compiled.as_text())
    assert len(bodies) == 2  # Forward and backward.
    for body in bodies:
        assert not re.findall(r"= f32\[8,10,16,64\]\S* copy\(", body)
    # The saved states, and a few arrays of one step.
    assert compiled.memory_analysis().temp_size_in_bytes <= ((name == "CLIF") + 1.7) * x.nbytes


def match_gradient(x):
    """Return an array of ones as the gradient of `x`; integers have one without values."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.ones_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)
