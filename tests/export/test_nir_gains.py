"""Neurons of NIR graphs whose current has a gain compute the same as an Euler step."""

import re
import warnings

import jax.numpy as jnp
import nir
import numpy as np
import pytest

from pit_jax.export import NotInNIR, from_nir
from tests.export.graphs import CHAIN, make_rockpool, write_tree


# In Rockpool r is tau / dt times the exact decay: 0.9608 with tau = 25 dt.
@pytest.mark.parametrize("r", [1.0, 1.9216, 3.0, np.array([1.9, 3.0, 0.5])])
@pytest.mark.parametrize("tau", [2e-4, 2.5e-3])
def test_gains_of_any_size_are_folded_into_thresholds(tmp_path, r, tau):
    nodes = make_rockpool(tau=tau, r=r, v_threshold=0.3)
    path = write_tree(tmp_path / "rockpool.nir", nodes, CHAIN)
    decay, gain = 1 - 1e-4 / tau, r * 1e-4 / tau
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, variables = from_nir(path, num_steps=20)
    is_plain = np.allclose(gain, 1) or np.allclose(gain, 1 - decay)
    assert len(caught) == (not is_plain)
    assert is_plain or re.search(
        "rockpool.nir: the gain of lif .* at dt = 0.0001 s.* Give dt", str(caught[0].message)
    )
    x = np.random.default_rng(0).random((1, 20, 3), np.float32)
    v, spikes = np.zeros(3), []
    for current in x[0]:
        v = decay * v + gain * current
        spikes.append(v > 0.3)
        v = np.where(spikes[-1], 0, v)
    np.testing.assert_array_equal(model.apply(variables, jnp.array(x))[0], spikes)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1e-42, 1.0])
def test_neurons_fire_above_thresholds_of_any_sign(tmp_path, threshold):
    nodes = make_rockpool(v_threshold=threshold)
    model, variables = from_nir(write_tree(tmp_path / "a.nir", nodes, CHAIN), num_steps=1)
    x = jnp.array([[-1.0, 0.0, 1.5]])
    np.testing.assert_array_equal(model.apply(variables, x)[0, 0], x[0] > threshold)


def test_parameters_in_half_precision_are_not_rounded_further(tmp_path):
    values = {key: np.float16(x) for key, x in {"tau": 0.01, "r": 50.0, "v_threshold": 0.5}.items()}
    path = write_tree(tmp_path / "half.nir", make_rockpool(**values), CHAIN)
    with pytest.warns(UserWarning, match=r"gain of lif \(0.4999 at dt = 0.0001 s\)"):
        model, _ = from_nir(path, num_steps=1)
    assert model.parts[1].make("lif").decay == pytest.approx(1 - 1e-4 / float(np.float16(0.01)))


def test_numbers_too_large_for_float32_are_refused_by_name(tmp_path):
    nodes = make_rockpool()
    nodes["linear"]["weight"] = np.full((3, 3), 1e300)
    with pytest.raises(NotInNIR, match="linear has weights of 1e.300, which is too large"):
        from_nir(write_tree(tmp_path / "large.nir", nodes, CHAIN), num_steps=1)
    nodes = make_rockpool(v_threshold=1e300)
    with pytest.raises(NotInNIR, match="lif has v_threshold of 1e.300, which is too large"):
        from_nir(write_tree(tmp_path / "large.nir", nodes, CHAIN), num_steps=1)


def test_gains_of_integrators_are_folded_where_the_time_step_is_known():
    graph = nir.NIRGraph.from_list(nir.IF(r=np.array([1.0, 2.0]), v_threshold=np.ones(2)))
    with pytest.raises(NotInNIR, match="if has r dt = 0.0001...0.0002; it must be 1"):
        from_nir(graph, num_steps=2)
    with pytest.warns(UserWarning, match="gain of if .2 at dt = 1 s. was folded") as caught:
        model, variables = from_nir(graph, num_steps=2, dt=1.0)
    assert "default" not in str(caught[0].message)
    spikes = model.apply(variables, jnp.array([[0.75, 0.75]]))
    np.testing.assert_array_equal(spikes[0], [[0, 1], [1, 1]])
