"""Neurons in the loop with its own gradient against the plain loop, and what it compiles to."""

import re
from contextlib import nullcontext
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.neurons import NEURONS, hard_reset, soft_reset
from pit_jax.neurons.over_time import LONG, over_time
from pit_jax.neurons.scale import lsq, released
from pit_jax.neurons.step import clearing_reset, lif_fire
from pit_jax.surrogate import arctan, rectangle, triangle
from tests.helpers import compile_as_users_do, jit_once
from tests.neurons.plain import plain_loop, scan_over_time
from tests.neurons.table import draw_currents, init, make_ready, run

OWN = ("IF", "LIF", "PLIF", "CLIF", "GLIF", "ILIF", "PIT", "RealSpike", "TrainableTernary")
slow = partial(pytest.param, marks=pytest.mark.slow)
OPTIONS = [
    ("LIF", {"reset": hard_reset, "threshold": 0.7, "decay_input": True}),
    ("LIF", {"reset": clearing_reset, "decay": 0.3, "spike": triangle}),
    ("LIF", {"detach_reset": True}),
    ("PLIF", {"reset": soft_reset, "detach_reset": False}),
    ("CLIF", {"detach_reset": True, "tau": 3.0, "spike": arctan}),
    ("ILIF", {"normalize": True, "decay_input": True, "detach_reset": True}),
    ("PIT", {"detach_reset": True, "decay_input": True, "strength": 0.5}),
    ("PIT", {"reset": hard_reset, "parametrize": lsq}),
    ("PIT", {"parametrize": released, "detach_reset": True}),
    ("Ternary", {"detach_reset": True, "threshold": 0.5}),
]


@partial(jit_once, static_argnums=(0, 3))
def differentiate(neuron, variables, x, plain):
    """Return outputs, membranes and gradients of a function of both."""

    def loss(variables, x):
        y, probes = run(neuron, variables, x)
        u = probes["membrane"]
        weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        return jnp.sum(weights * y) + jnp.sum(weights[:, ::-1] * u**2), (y, u)

    with plain_loop() if plain else nullcontext():
        return jax.value_and_grad(loss, (0, 1), has_aux=True)(variables, x)


def assert_equal_to_the_plain_loop(name, steps, **fields):
    loops = {"unroll": fields.pop("unroll", 4), "checkpoint_every": fields.pop("every", None)}
    x = draw_currents((2, steps, 2, 3), jnp.float64)
    if "parametrize" in fields:  # Its parameters have other names.
        neuron = NEURONS[name](**fields)
        variables = init(neuron, x)
    else:
        neuron, variables = make_ready(name, x, **fields)
    want = differentiate(neuron, variables, x, plain=True)
    got = differentiate(neuron.clone(**loops), variables, x, plain=False)
    chex.assert_trees_all_close(got, want, rtol=0, atol=1e-12)
    assert want[1][1].any()


@pytest.mark.parametrize("steps", [1, slow(2), slow(4), 5, slow(10), slow(33)])
@pytest.mark.parametrize("name", OWN)
def test_outputs_and_all_gradients_equal_those_of_the_plain_loop(x64, name, steps):
    assert_equal_to_the_plain_loop(name, steps)


@pytest.mark.parametrize("steps", [slow(3), 6])
@pytest.mark.parametrize("name, fields", OPTIONS)
def test_options_give_the_gradients_of_the_plain_loop(x64, name, fields, steps):
    assert_equal_to_the_plain_loop(name, steps, **fields)


@pytest.mark.parametrize("every, unroll", [(3, 1), slow(1, 4), slow(2, 4), slow(6, 1)])
@pytest.mark.parametrize("name", ["PLIF", "CLIF", "PIT", *map(slow, ("LIF", "GLIF", "ILIF"))])
def test_states_computed_again_give_the_same_gradients(x64, name, every, unroll):
    # 7 steps: parts of 3, 3 and 1.
    assert_equal_to_the_plain_loop(name, 7, every=every, unroll=unroll)


def fire_lif(u):
    return lif_fire(u, 0.3, threshold=1.0, spike=rectangle, reset=soft_reset, detach_reset=False)


def test_long_inputs_save_few_states_by_default(x64):
    steps = LONG + 3
    x = draw_currents((2, steps, 3), jnp.float64)

    def pull(run, x):
        out, back = jax.vjp(lambda x: run(fire_lif, x)[1], x)
        return out, back(jnp.cos(x))

    chex.assert_trees_all_close(
        *(jit_once(partial(pull, run))(x) for run in (over_time, scan_over_time)), atol=1e-12
    )
    saved = jax.eval_shape(lambda x: jax.vjp(partial(over_time, fire_lif), x)[1], x)
    sizes = sorted(leaf.shape[1] for leaf in jax.tree.leaves(saved) if leaf.ndim == 3)
    assert sizes == [9, steps]  # Every 8th state, and the currents.


def test_float32_spikes_equal_those_of_the_plain_loop():
    x = draw_currents((4, 20, 32, 32))
    for name in ("LIF", "PIT"):
        neuron, variables = make_ready(name, x)
        _, probes = jax.jit(partial(run, neuron))(variables, x)
        with plain_loop():
            _, plain = jax.jit(partial(run, neuron))(variables, x)
        np.testing.assert_array_equal(probes["count"], plain["count"])


def test_second_derivatives_and_batches_of_batches(x64):
    x = draw_currents((3, 2, 6, 4), jnp.float64)

    def fire(u):  # Smooth: the second derivative of a surrogate gradient depends on the order.
        return 0.5 * jnp.sin(u), jnp.tanh(u)

    def curvature(run, x):
        gradient = jax.vmap(jax.grad(lambda x: sum(jnp.sum(y**2) for y in run(fire, x))))
        return jax.grad(lambda x: jnp.sum(jnp.square(gradient(x))))(x)

    own, plain = (jit_once(partial(curvature, run))(x) for run in (over_time, scan_over_time))
    np.testing.assert_allclose(own, plain, rtol=0, atol=1e-11)
    assert own.any()


SHAPE = (8, 10, 16, 64)


@pytest.mark.parametrize(
    "name, arrays", [("LIF", 1), ("PLIF", 1), ("ILIF", 1), ("PIT", 1), ("CLIF", 2)]
)
def test_compiled_loops_copy_no_whole_array_and_need_few(name, arrays):
    x = draw_currents(SHAPE)
    neuron, variables = make_ready(name, x)

    def train(variables, x, g):
        out, pull = jax.vjp(neuron.apply, variables, x)
        return out, pull(g)

    with compile_as_users_do():
        compiled = jax.jit(train).lower(variables, x, x).compile()
        with plain_loop():
            plain = jax.jit(lambda *args: train(*args)).lower(variables, x, x).compile()
    bodies = find_loop_bodies(compiled.as_text())
    assert len(bodies) == 2  # Forward and backward.
    whole = "f32[" + ",".join(map(str, SHAPE)) + "]"
    for body in bodies:
        assert not re.findall(rf"= {re.escape(whole)}\S* copy\(", body)
    # The saved states, and a few arrays of one step.
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    assert temporaries <= (arrays + 0.7) * x.nbytes
    assert temporaries <= 0.4 * plain.memory_analysis().temp_size_in_bytes


def find_loop_bodies(text):
    """Return the text of the computations that are bodies of while loops in a compiled program."""
    parts = re.split(r"\n(?=%|ENTRY)", text)
    names = re.findall(r" while\(.*body=%?([\w.-]+)", text)
    return [part for part in parts if part.split(" ")[0].lstrip("%") in names]


def test_a_planted_copy_is_found():
    def loop(x):
        def body(t, carry):
            x, y = carry
            return y, x.at[t].add(1.0)

        return jax.lax.fori_loop(0, 5, body, (x, x + 1))

    (body,) = find_loop_bodies(jax.jit(loop).lower(jnp.ones((8, 1024))).compile().as_text())
    assert re.search(r"= f32\[8,1024\]\S* copy\(", body)
