"""States that are refused, rows of steps, narrow dtypes, files, nnx and whole networks."""

from functools import partial

import chex
import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pit_jax.models import create
from pit_jax.neurons import LIF, NEURONS, PIT, MembraneState, apply_with_states
from pit_jax.neurons.over_time import over_time_from
from tests.helpers import jit_once
from tests.neurons.streams import NAMES, WITH_A_MEMBRANE, WITH_ROWS, make, run_stream
from tests.neurons.table import draw_currents, run

slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["PIT", *map(slow, ("PITFull", "GLIF"))])
def test_steps_beyond_the_last_row_are_refused(name):
    x = draw_currents((2, 4, 3))
    neuron, variables = make(name, x)
    _, state = neuron.apply(variables, x[:, :3], None, True)
    y, full = neuron.apply(variables, x[:, 3:], state, True)
    assert full.steps == 4 and jnp.isfinite(y).all()
    with pytest.raises(ValueError, match=r"T=4 steps, .* after step 3 for 2 more.*one step"):
        neuron.apply(variables, x[:, :2], state, True)
    with pytest.raises(ValueError, match="after step 4 for 1 more"):
        neuron.apply(variables, x[:, :1], full)
    with pytest.raises(ValueError, match="after step 0 for 5 more"):
        neuron.apply(variables, draw_currents((2, 5, 3)), return_state=True)

    @jax.jit
    def run_twice(x):  # The count is known inside one compiled function.
        _, state = neuron.apply(variables, x, None, True)
        return neuron.apply(variables, x, state, True)

    with pytest.raises(ValueError, match="after step 4 for 4 more"):
        run_twice(x)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_steps_beyond_the_last_row_are_nan_where_the_count_is_unknown(name):
    x = draw_currents((2, 4, 3))
    neuron, variables = make(name, x)
    apply = jit_once(lambda x, state: neuron.apply(variables, x, state, True))
    _, state = apply(x[:, :3], None)
    y, state = apply(x[:, :2], state)
    assert state.steps == 5
    assert jnp.isfinite(y[:, 0]).all() and jnp.isnan(y[:, 1]).all()


@pytest.mark.parametrize("name", ["PIT", "GLIF", slow("PITFull")])
def test_one_row_is_used_at_every_step(x64, name):
    x = draw_currents((2, 6, 3), jnp.float64)
    neuron, variables = make(name, x[:, :1])
    y, membranes, state = run_stream(neuron, variables, x, (1, 5))
    repeated = jax.tree.map(
        lambda p: jnp.repeat(p, 6, axis=0) if p.shape[0] == 1 and p.ndim > 1 else p, variables
    )
    want, probes = jit_once(partial(run, neuron))(repeated, x)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_allclose(membranes, probes["membrane"], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(jit_once(neuron.apply)(variables, x), want)
    assert state.steps == 6


PIT_STATE = MembraneState("PIT", jnp.zeros((2, 3)), steps=np.int32(1))
WRONG = [
    (MembraneState("LIF", jnp.zeros((2, 3))), "state of the neuron LIF, but this neuron is PIT"),
    (jnp.zeros((2, 3)), "must be None or a state that this neuron returned with return_state"),
    (PIT_STATE.replace(membrane=jnp.zeros((2, 4))), r"be float32\[2,3\] .*, got float32\[2,4\]"),
    (PIT_STATE.replace(membrane=jnp.zeros(3)), r"be float32\[2,3\] .*, got float32\[3\]"),
    (PIT_STATE.replace(membrane=jnp.zeros((2, 3), "f2")), r"be float32\[2,3\] .*, got float16"),
    (PIT_STATE.replace(membrane=None), r"the membrane of .*, got None"),
    (PIT_STATE.replace(potential=jnp.zeros((2, 3))), "the potential of .* be None"),
    (PIT_STATE.replace(steps=np.float32(1)), r"the steps of .* be int32\[\].*, got float32\[\]"),
]


@pytest.mark.parametrize("wrong, message", WRONG)
def test_a_state_that_does_not_fit_is_refused(wrong, message):
    x = draw_currents((2, 4, 3))
    neuron, variables = make("PIT", x)
    for apply in (neuron.apply, jax.jit(neuron.apply)):
        with pytest.raises(ValueError, match=message):
            apply(variables, x[:, :1], wrong)


@pytest.mark.parametrize("name", ["RealSpike", "TrainableTernary", "QAT", "ReLU", "NormedLIF"])
def test_a_state_of_another_neuron_is_refused(name):
    x = draw_currents((2, 4, 3))
    neuron, variables = make(name, x)
    with pytest.raises(ValueError, match=f"neuron LIF, but this neuron is {name}"):
        neuron.apply(variables, x, LIF().apply({}, x, None, True)[1])


def test_a_negative_count_and_a_state_of_another_shape_are_refused():
    x = draw_currents((2, 4, 3))
    neuron, variables = make("PIT", x)
    with pytest.raises(ValueError, match="after step -1"):
        neuron.apply(variables, x[:, :1], PIT_STATE.replace(steps=np.int32(-1)))
    with pytest.raises(ValueError, match=r"must have the shape \(2, 3\), got \(2, 1\)"):
        over_time_from(lambda u: (u, u), x, [jnp.zeros((2, 1))])


def test_narrow_currents_have_a_float32_state():
    x = draw_currents(dtype=jnp.bfloat16)
    for name in NAMES:
        neuron, variables = make(name, x)
        y, state = jax.eval_shape(lambda v, x, n=neuron: n.apply(v, x, None, True), variables, x)
        assert y.dtype == jnp.bfloat16
        if name in WITH_A_MEMBRANE:
            assert (state.membrane.shape, state.membrane.dtype) == (x[:, 0].shape, jnp.float32)


def test_a_state_is_saved_and_loaded(tmp_path):
    x = draw_currents((2, 4, 3))
    neuron, variables = make("PIT", x)
    want, state = neuron.apply(variables, x[:, :2], None, True)
    (tmp_path / "state").write_bytes(flax.serialization.to_bytes(state))
    rest = jax.tree.map(jnp.zeros_like, state)
    loaded = flax.serialization.from_bytes(rest, (tmp_path / "state").read_bytes())
    assert isinstance(loaded, MembraneState)
    one, other = (neuron.apply(variables, x[:, 2:], s, True) for s in (state, loaded))
    chex.assert_trees_all_equal(one, other)


def test_a_wrapped_neuron_streams_in_nnx():
    x = draw_currents((2, 4, 3))
    wrapped = nnx.bridge.ToNNX(PIT(), rngs=nnx.Rngs(0)).lazy_init(x)
    y, state = wrapped(x[:, :3], return_state=True)
    rest, _ = wrapped(x[:, 3:], initial_state=state, return_state=True)
    np.testing.assert_array_equal(jnp.concatenate([y, rest], 1), wrapped(x))


@pytest.mark.parametrize(
    "neuron",
    [NEURONS["RealSpike"], *map(slow, (LIF, partial(PIT, levels=2)))],
)
def test_a_network_streams_with_the_states_of_its_neurons(x64, neuron):
    x = draw_currents((2, 4, 6, 6, 2), jnp.float64)
    net = create("resnet8", num_classes=3, neuron=neuron, num_steps=4, stages=(1,), width=4)
    variables = jit_once(net.init)(jax.random.key(0), x)
    want = jit_once(net.apply)(variables, x)
    one_step = jit_once(partial(apply_with_states, net.clone(num_steps=1)))
    states, outputs = None, []
    for t in range(4):
        y, states = one_step(variables, x[:, t : t + 1], states)
        outputs.append(y)
    np.testing.assert_allclose(jnp.concatenate(outputs, 1), want, rtol=0, atol=1e-12)
    assert len(states) > 1 and all(isinstance(s, MembraneState) for s in states.values())


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x):
        neuron = LIF(name="shared")
        return neuron(neuron(x))


class Once(nn.Module):
    @nn.compact
    def __call__(self, x):
        return LIF()(x)


def test_states_of_other_networks_are_refused():
    x = draw_currents()
    _, states = apply_with_states(Once(), {}, x)
    with pytest.raises(ValueError, match="the neuron shared is called twice"):
        apply_with_states(Twice(), {}, x)
    with pytest.raises(ValueError, match="the neuron LIF_0 is not in states"):
        apply_with_states(Once(), {}, x, {})
    with pytest.raises(ValueError, match="states has the layer b"):
        apply_with_states(Once(), {}, x, states | {"b": states["LIF_0"]})
