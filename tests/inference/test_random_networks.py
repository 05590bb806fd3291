"""Programs of random networks equal their grids, as do programs of chosen membranes."""

from functools import partial
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
from tests.inference.networks import NEURONS


class RandomNetwork(nn.Module):
    """Convolutions with norms and neurons, some with a pool or a shortcut, and a linear head.

    A layer is (features, kernel, stride, groups, what follows the neuron).
    """

    neuron: Any
    num_steps: int
    layers: tuple[tuple[int, int, int, int, str], ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if x.ndim == 4:
            x = jnp.broadcast_to(x[:, None], (len(x), self.num_steps, *x.shape[1:]))
        for features, kernel, stride, groups, then in self.layers:
            pad = ((kernel // 2, kernel // 2),) * 2
            y = nn.Conv(
                features, (kernel, kernel), stride, pad, feature_group_count=groups, use_bias=True
            )(x)
            y = self.neuron()(nn.BatchNorm(not train, momentum=0.5)(y))
            if then == "add" and y.shape == x.shape and x.shape[-1] > 2:
                y = y + x
            if then in ("avg", "max") and min(y.shape[2:4]) > 1:
                pool = nn.avg_pool if then == "avg" else nn.max_pool
                y = pool(y, (2, 2), (2, 2))
            x = y
        return nn.Dense(3)(x.mean((2, 3)))


def make_variables(model: RandomNetwork, x: jax.Array, seed: int) -> dict[str, Any]:
    """Return variables with batch norm statistics and scales of many sizes above 0."""
    # Each program runs at most 60 times, so compiling it takes longer than running it.
    jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    variables = dict(jit(model.init)(jax.random.key(seed), x))
    update_statistics = jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[1])
    for n in range(60):
        variables |= update_statistics(variables, x * (1 + n % 3))
    draw = np.random.default_rng(seed)

    def scale_leaf(path: Any, leaf: jax.Array) -> jax.Array:
        if path[-1].key in ("a", "amplitude", "alpha"):
            return leaf * draw.uniform(0.3, 2.0, leaf.shape)
        return leaf

    variables["params"] = jax.tree_util.tree_map_with_path(scale_leaf, variables["params"])
    return variables


@st.composite
def random_networks(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw a network, the shape of its input, the code of its spikes and its type of weights."""
    name = draw(st.sampled_from(sorted(NEURONS)))
    then = ("", "add", "avg") if name in ("PITFull", "RealSpike") else ("", "add", "avg", "max")
    last = draw(st.sampled_from([2, 4]))
    layers = [(last, draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2])), 1, "")]
    for _ in range(draw(st.integers(1, 2))):
        features = draw(st.sampled_from([2, 4]))
        groups = draw(st.sampled_from([1, 2, min(last, features)]))
        kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
        layers.append((features, kernel, stride, groups, draw(st.sampled_from(then))))
        last = features
    levels, steps = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 4]))
    shape = (draw(st.integers(3, 7)), draw(st.integers(3, 7)), draw(st.sampled_from([1, 3])))
    pooled = any(layer[-1] == "max" for layer in layers)
    code = draw(st.sampled_from(["thermometer"] if pooled else ["thermometer", "bitwise"]))
    weights = draw(st.sampled_from(["float32", "int8"]))
    frames = draw(st.booleans())
    network = RandomNetwork(NEURONS[name](levels), steps, tuple(layers))
    return network, (steps, *shape) if frames else shape, code, weights


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


# Channels of a random network may be silent on its random input.
ALLOW_SILENT_CHANNELS = pytest.mark.filterwarnings("ignore:.*start at the floor:UserWarning")


@ALLOW_SILENT_CHANNELS
@given(random_networks(), st.integers(0, 99))
@settings(max_examples=6, phases=[Phase.generate])
def test_a_random_network_equals_its_grid(drawn, seed):
    assert_program_equals_grid(drawn, seed)


@ALLOW_SILENT_CHANNELS
@pytest.mark.slow
@given(random_networks(), st.integers(0, 99))
@settings(max_examples=100, phases=[Phase.generate])
def test_many_random_networks_equal_their_grids(drawn, seed):
    assert_program_equals_grid(drawn, seed)


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
    pixels: np.ndarray, a: float
) -> tuple[MembraneNetwork, dict[str, Any], np.ndarray]:
    """Return a network whose membranes are `pixels` `[N]`, in one channel with scale `a`.

    A second channel is silent.
    """
    x = np.zeros((1, len(pixels), 1, 2), np.float32)
    x[0, :, 0, 0] = pixels
    model = MembraneNetwork()
    normal = jax.random.normal(jax.random.key(1), (8, *x.shape[1:]))
    variables = jax.tree.map(jnp.asarray, model.init(jax.random.key(0), normal))
    params = variables["params"]
    params["Conv_0"]["kernel"] = jnp.eye(2).reshape(1, 1, 2, 2)
    params["PIT_0"]["a"] = jnp.full((1, 2), a)
    return model, variables, x


@pytest.mark.parametrize("a", [0.5, 2.0**-6, 0.75])
def test_membranes_at_and_one_unit_from_a_boundary_are_rounded_half_up(a):
    # At k + 1/2 levels and one unit of the pixels on either side, also below 0 and above D.
    ties = a * (np.arange(-3, 8) + 0.5)
    unit = 2.0**-12  # Of pixels up to 8, at 15 bits.
    pixels = np.concatenate([ties, ties - unit, ties + unit])
    model, variables, x = make_membranes(pixels, a)
    program = compile(model, variables, x, largest_input=8.0)
    assert program.nodes[0].unit == unit
    want = [sum(u >= a * (d - 0.5) for d in range(1, 5)) for u in pixels]
    assert np.asarray(program.counts(x)["PIT_0"])[0, 0, :, 0, 0].tolist() == want
    if np.log2(a) % 1 == 0:  # Else the trained neuron's 1 / a is rounded, and so are its ties.
        assert program.verify(x).layers[0].flipped == 0


@pytest.mark.parametrize("pixels", [[1e-40, -1e-40, 1.0], [1e30, -1e30, 1.0], [-1.0, -0.0, 0.0]])
def test_subnormal_pixels_are_0_and_large_pixels_are_clipped(pixels):
    model, variables, x = make_membranes(np.array(pixels), 0.5)
    program = compile(model, variables, x, largest_input=4.0)
    counts = np.asarray(program.counts(x)["PIT_0"])[0, 0, :, 0, 0]
    assert counts.tolist() == [int(np.clip(np.floor(p / 0.5 + 0.5), 0, 4)) for p in pixels]


def test_scales_at_their_floor_and_silent_channels_stay_exact():
    model, variables, x = make_membranes(np.linspace(-1, 1, 9), -3.0)  # The floor makes it 1e-3.
    program = compile(model, variables, x)
    counts = np.asarray(program.counts(x)["PIT_0"])[0, 0, :, 0]
    assert counts[:, 0].tolist() == [0] * 5 + [4] * 4
    assert not counts[:, 1].any()


def test_weights_that_are_not_finite_are_refused():
    model, variables, x = make_membranes(np.linspace(-1, 1, 9), 0.5)
    variables["params"]["Conv_1"]["bias"] = jnp.array([0.0, jnp.nan, 0.0, jnp.inf])
    with pytest.raises(ValueError, match="params/Conv_1/bias holds values that are not finite"):
        compile(model, variables, x)


def test_a_network_of_zeros_compiles_to_a_silent_program():
    model, variables, x = make_membranes(np.linspace(-1, 1, 9), 0.5)
    variables["params"] = {
        name: layer if "PIT" in name else jax.tree.map(jnp.zeros_like, layer)
        for name, layer in variables["params"].items()
    }
    program = compile(model, variables, x)
    assert not np.asarray(program(x)).any()
    assert not any(np.asarray(spikes).any() for spikes in program.trace(x).values())
