"""Charge and resets by hand; whole steps from plain JAX and nnx against the modules."""

from functools import partial
from inspect import unwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from pit_jax.neurons import (
    CLIF,
    IF,
    ILIF,
    LIF,
    PIT,
    QBLIF,
    Ternary,
    charge,
    hard_reset,
    soft_reset,
)
from pit_jax.neurons.step import (
    clearing_reset,
    clif_step,
    ilif_step,
    lif_step,
    pit_step,
    qb_lif_step,
    ternary_step,
)
from pit_jax.surrogate import arctan
from tests.neurons.table import draw_currents

pytestmark = pytest.mark.usefixtures("strict")


def test_charge_adds_the_current_or_a_share_of_it_to_the_decayed_membrane():
    v, current = jnp.array([2.0, -4.0]), jnp.array([1.0, 8.0])
    np.testing.assert_array_equal(charge(v, current, decay=0.25), [1.5, 7])
    np.testing.assert_array_equal(charge(v, current, decay=0.25, decay_input=True), [1.25, 5])
    np.testing.assert_array_equal(charge(v, current, decay=1.0), [3, 4])


@pytest.mark.parametrize(
    "reset, want, du, ds",
    [
        (soft_reset, [0.5, -1.0, 0.25], [1, 1, 1], [-2, -2, -2]),  # u - 2 s
        (hard_reset, [0.0, -1.0, 0.0], [0, 1, 0], [-2.5, 1.0, -2.25]),  # u (1 - s)
        (clearing_reset, [0.0, -1.0, 0.0], [0, 1, 0], [0, 0, 0]),  # 0 where s is not 0
    ],
)
def test_resets_by_hand_and_their_gradients_attached_and_detached(reset, want, du, ds):
    u, s = jnp.array([2.5, -1.0, 2.25]), jnp.array([1.0, 0.0, 1.0])
    for detach in (False, True):
        v, pull = jax.vjp(partial(reset, threshold=2.0, detach=detach), u, s)
        np.testing.assert_array_equal(v, want)
        grad_u, grad_s = pull(jnp.ones(3))
        np.testing.assert_array_equal(grad_u, du)
        np.testing.assert_array_equal(grad_s, np.zeros(3) if detach else ds)


@pytest.mark.parametrize("s", [0.25, -0.25, 3.0])
def test_clearing_resets_the_membrane_to_0_for_spikes_of_any_size(s):
    u, spikes = jnp.array([2.5, -1.0]), jnp.array([s, 0.0])
    np.testing.assert_array_equal(clearing_reset(u, spikes), [0, -1])


def scan(step, v, x):
    """Return spikes `[B, T, C]` of a step function that is scanned over currents `[B, T, C]`."""
    return jnp.moveaxis(jax.lax.scan(step, v, jnp.moveaxis(x, 1, 0))[1], 0, 1)


REST = jnp.zeros((4, 3))
# A neuron of each step function, the step, and the state at rest.
STEPS = [
    (LIF(), lif_step, REST),
    (
        LIF(decay_input=True, reset=hard_reset),
        partial(lif_step, decay_input=True, reset=hard_reset),
        REST,
    ),
    (IF(), partial(lif_step, decay=1.0, spike=arctan, reset=hard_reset, detach_reset=True), REST),
    (CLIF(), clif_step, (REST, REST)),
    (Ternary(), ternary_step, REST),
    (ILIF(levels=2), partial(ilif_step, levels=2), REST),
]


@pytest.mark.parametrize("neuron, step, rest", STEPS)
def test_scanned_steps_equal_the_neuron_over_time(x64, neuron, step, rest):
    x = draw_currents((4, 6, 3), jnp.float64)
    rest = jax.tree.map(lambda v: v.astype(jnp.float64), rest)

    def differentiate(run):
        y, pull = jax.vjp(run, x)
        return y, pull(jnp.cos(x))[0]

    y, grad = differentiate(partial(scan, step, rest))
    want, want_grad = differentiate(partial(neuron.apply, {}))
    np.testing.assert_array_equal(y, want)
    np.testing.assert_allclose(grad, want_grad, rtol=0, atol=1e-12)
    assert y.any() and grad.any()


@pytest.mark.parametrize("reset", [soft_reset, hard_reset])
def test_scanned_steps_of_pit_equal_the_neuron_with_its_scales(x64, reset):
    x = draw_currents((4, 6, 3), jnp.float64)
    neuron = PIT(levels=3, reset=reset)
    variables = neuron.init(jax.random.key(0), x)
    step = partial(pit_step, levels=3, reset=reset)
    steps = (jnp.moveaxis(x, 1, 0), variables["params"]["a"])
    _, y = jax.lax.scan(lambda v, inputs: step(v, *inputs), jnp.zeros_like(x[:, 0]), steps)
    np.testing.assert_array_equal(jnp.moveaxis(y, 0, 1), neuron.apply(variables, x))
    assert y.any()


def test_scanned_steps_of_qb_lif_equal_the_neuron_with_its_scale(x64):
    x = draw_currents((4, 6, 3), jnp.float64)
    a = jnp.array([0.7])
    rest = jnp.zeros_like(x[:, 0])
    y, pull = jax.vjp(lambda a: scan(partial(qb_lif_step, a=a, levels=3), rest, x), a)
    want, pull_neuron = jax.vjp(lambda a: QBLIF(levels=3).apply({"params": {"a": a}}, x), a)
    np.testing.assert_array_equal(y, want)
    assert y.any()
    # The neuron takes the mean over its channels.
    ((grad,), (grad_neuron,)) = (f(jnp.cos(x)) for f in (pull, pull_neuron))
    np.testing.assert_allclose(grad / 3, grad_neuron, rtol=1e-12)


@pytest.mark.parametrize(
    "step, message",
    [
        (lambda: lif_step(REST, REST, reset="hard"), "reset must be a function, got 'hard'"),
        (lambda: pit_step(REST, REST, 1.0, reset="soft"), "reset must be a function, got 'soft'"),
        (lambda: clif_step((REST, REST), REST, tau=0.5), "tau must be at least 1, got 0.5"),
        # Its two rows would be taken for v and m. Without the type checker of these tests.
        (lambda: unwrap(clif_step)(REST[:2], REST[:2]), r"must be a pair of arrays, \(v, m\)"),
    ],
)
def test_wrong_arguments_of_steps_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        step()


class Recurrent(nnx.Module):
    """A layer of nnx whose neurons are a step function and a membrane in a variable."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.membrane = nnx.BatchStat(jnp.zeros((4, 3)))

    def __call__(self, x):
        self.membrane[...], s = lif_step(self.membrane[...], self.linear(x))
        return s


def test_a_layer_of_nnx_made_of_a_step_function_equals_the_module():
    layer, x = Recurrent(nnx.Rngs(0)), draw_currents((4, 5, 3))
    step = nnx.jit(lambda layer, x: layer(x))
    spikes = jnp.stack([step(layer, x[:, t]) for t in range(5)], axis=1)
    np.testing.assert_array_equal(spikes, LIF().apply({}, layer.linear(x)))
    assert spikes.any()
