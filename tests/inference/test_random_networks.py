"""Programs of random networks equal their grids, as do programs of chosen membranes."""

from typing import Any

import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings

from pit_jax import neurons
from pit_jax.inference import compile
from tests.helpers import jit_once
from tests.inference.random_networks import (
    ALLOW_SILENT_CHANNELS,
    make_variables,
    random_networks,
)


def assert_program_equals_grid(drawn: tuple[Any, ...], seed: int) -> None:
    model, shape, code, weights = drawn
    x = jax.random.normal(jax.random.key(seed), (4, *shape))
    program = compile(
        model, make_variables(model, x, seed), x, code=code, weights=weights, verify=False
    )
    report = program.verify(x)
    assert report, str(report)
    for spikes in program.trace(x).values():
        assert set(np.unique(spikes)) <= {-1, 0, 1}


@ALLOW_SILENT_CHANNELS
@given(random_networks(), st.integers(0, 99))
@settings(max_examples=3, phases=[Phase.generate])
def test_a_random_network_equals_its_grid(drawn, seed):
    assert_program_equals_grid(drawn, seed)


@ALLOW_SILENT_CHANNELS
@pytest.mark.slow
@given(random_networks(), st.integers(0, 99))
@settings(max_examples=100, phases=[Phase.generate])
def test_many_random_networks_equal_their_grids(drawn, seed):
    assert_program_equals_grid(drawn, seed)


MEMBRANES = np.linspace(-1, 1, 9)[:, None]


class MembraneNetwork(nn.Module):
    """Pixels are the membranes of its first neurons."""

    levels: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = neurons.PIT(levels=self.levels)(
            nn.Conv(x.shape[-1], (1, 1), use_bias=False)(x[:, None])
        )
        x = neurons.PIT(levels=self.levels)(nn.Conv(4, (1, 1))(x))
        return nn.Dense(3)(x.mean((2, 3)))


def make_membranes(
    pixels: np.ndarray, a: np.ndarray
) -> tuple[MembraneNetwork, dict[str, Any], np.ndarray]:
    """Return a network whose membranes are `pixels` `[N, C]`, with the scales `a` `[C]`.

    One more channel is silent.
    """
    channels = len(a) + 1
    x = np.zeros((1, len(pixels), 1, channels), np.float32)
    x[0, :, 0, :-1] = pixels
    model = MembraneNetwork()
    normal = jax.random.normal(jax.random.key(1), (8, *x.shape[1:]))
    variables = jax.tree.map(jnp.asarray, jit_once(model.init)(jax.random.key(0), normal))
    params = variables["params"]
    params["Conv_0"]["kernel"] = jnp.eye(channels)[None, None]
    params["PIT_0"]["a"] = jnp.append(jnp.asarray(a, jnp.float32), 1.0)[None]
    return model, variables, x


def test_membranes_at_and_one_unit_from_a_boundary_are_rounded_half_up():
    # At k + 1/2 levels and one unit of the pixels on either side, also below 0 and above D.
    a = np.array([0.5, 2.0**-6, 0.75])
    ties = a * (np.arange(-3, 8)[:, None] + 0.5)
    unit = 2.0**-12  # Of pixels up to 8, at 15 bits.
    pixels = np.concatenate([ties, ties - unit, ties + unit])
    model, variables, x = make_membranes(pixels, a)
    program = compile(model, variables, x, largest_input=8.0)
    assert program.nodes[0].unit == unit
    counts = np.asarray(program.counts(x)["PIT_0"])[0, 0, :, 0, :-1]
    assert np.array_equal(counts, sum((pixels >= a * (d - 0.5)).astype(int) for d in range(1, 5)))
    # 1 / 0.75 is rounded, and so are the trained neuron's ties; the other scales are exact.
    trained = program.reference(x)[1]["PIT_0"].counts[0, 0, :, 0, :2]
    assert np.array_equal(counts[:, :2], trained)
    assert program.verify(x)


def test_subnormal_pixels_are_0_and_large_pixels_are_clipped():
    pixels = np.array([[1e-40, -1e-40, 1.0], [1e30, -1e30, 1.0], [-1.0, -0.0, 0.0]])
    model, variables, x = make_membranes(pixels, np.full(3, 0.5))
    program = compile(model, variables, x, largest_input=4.0)
    with pytest.warns(UserWarning, match="of the input values are beyond 4, the largest input"):
        counts = np.asarray(program.counts(x)["PIT_0"])[0, 0, :, 0, :-1]
    assert np.array_equal(counts, np.clip(np.floor(pixels / 0.5 + 0.5), 0, 4))


def test_scales_at_their_floor_and_silent_channels_stay_exact():
    silent = np.zeros_like(MEMBRANES)
    # The floor makes both scales 1e-3.
    model, variables, x = make_membranes(np.hstack([MEMBRANES, silent]), [-3.0, -3.0])
    program = compile(model, variables, x)
    counts = np.asarray(program.counts(x)["PIT_0"])[0, 0, :, 0]
    assert counts[:, 0].tolist() == [0] * 5 + [4] * 4
    assert not counts[:, 1:].any()


def test_weights_that_are_not_finite_are_refused():
    model, variables, x = make_membranes(MEMBRANES, [0.5])
    variables["params"]["Conv_1"]["bias"] = jnp.array([0.0, jnp.nan, 0.0, jnp.inf])
    with pytest.raises(ValueError, match="params/Conv_1/bias holds values that are not finite"):
        compile(model, variables, x)


def test_a_network_of_zeros_compiles_to_a_silent_program():
    model, variables, x = make_membranes(MEMBRANES, [0.5])
    variables["params"] = {
        name: layer if "PIT" in name else jax.tree.map(jnp.zeros_like, layer)
        for name, layer in variables["params"].items()
    }
    program = compile(model, variables, x)
    assert not np.asarray(program(x)).any()
    assert not any(np.asarray(spikes).any() for spikes in program.trace(x).values())
