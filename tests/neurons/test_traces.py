"""Membranes, spikes and gradients equal those derived by hand in traces.py and gradients.py."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.neurons import NEURONS
from tests.helpers import jit_once
from tests.neurons.gradients import GRADIENTS
from tests.neurons.table import init, jit_run
from tests.neurons.traces import TRACES


def rows(table):
    return pytest.mark.parametrize(
        "name, row",
        [
            pytest.param(name, row, id=f"{name}{number}")
            for name, rows in table.items()
            for number, row in enumerate(rows)
        ],
    )


def as_currents(current, dtype):
    """Return `[T]` or `[T, C]` as `[1, T, C]`."""
    return jnp.array(current, dtype).reshape(1, len(current), -1)


def make_variables(row, neuron, x):
    if not row.params:
        return init(neuron, x)
    return {"params": {name: jnp.array(value, x.dtype) for name, value in row.params.items()}}


def test_every_neuron_has_a_trace_and_a_gradient():
    assert TRACES.keys() == GRADIENTS.keys() == NEURONS.keys()


@rows(TRACES)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_membranes_and_spikes_equal_those_derived_by_hand(strict, name, row, dtype):
    neuron = NEURONS[name](**row.fields)
    with jax.enable_x64(dtype == jnp.float64):
        x = as_currents(row.current, dtype)
        y, probes = jit_run(neuron, make_variables(row, neuron, x), x)
    got = {"output": y} | {probe: probes.get(probe) for probe in ("membrane", "count")}
    want = {
        "output": row.count if row.output is None else row.output,
        "membrane": row.membrane,
        "count": row.count,
    }
    if row.membrane is None:
        assert not probes
        del want["membrane"], want["count"]
    for key, value in want.items():
        assert got[key].dtype == dtype
        np.testing.assert_allclose(
            got[key],
            np.array(value, dtype).reshape(x.shape),
            rtol=0,
            atol=row.eps * np.finfo(dtype).eps if key == "membrane" else 0,
            err_msg=key,
        )


# The default of `detach_reset` is compiled already for one of its values.
@partial(jit_once, static_argnums=0)
def differentiate(neuron, variables, x):
    """Return the gradients of 3 s_0 + 5 s_1 + 7 s_2 for variables and currents."""
    weights = jnp.array([3.0, 5.0, 7.0])[None, : x.shape[1], None]

    def loss(variables, x):
        return jnp.sum(weights * neuron.apply(variables, x))

    return jax.grad(loss, (0, 1))(variables, x)


@rows(GRADIENTS)
def test_gradients_equal_those_derived_by_hand(x64, name, row):
    x = as_currents(row.current, float)

    def gradient(**detach):
        neuron = NEURONS[name](**row.fields, **detach)
        return differentiate(neuron, make_variables(row, neuron, x), x)

    def assert_for_currents(want, **detach):
        np.testing.assert_allclose(gradient(**detach)[1][0, :, 0], want, rtol=1e-14)

    if row.detached is None:
        assert_for_currents(row.through_reset)
    else:
        assert_for_currents(row.through_reset, detach_reset=False)
        assert_for_currents(row.detached, detach_reset=True)
    grad_params = gradient()[0].get("params", {})
    for parameter, want in row.grad_params.items():
        np.testing.assert_allclose(grad_params[parameter], want, rtol=1e-14, err_msg=parameter)
