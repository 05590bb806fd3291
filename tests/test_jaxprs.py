"""Initial parameters whose random bits come from one draw: distributions, keys, seeds, types."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scipy import stats

from pit_jax.jaxprs import draw_at_once
from tests.helpers import jit_once

INITS = nn.initializers
SHAPE = (300, 400)
# Standard deviation, smallest and largest value, and distribution of kernels of SHAPE.
KINDS = {
    "truncated": (
        INITS.lecun_normal(),
        stats.truncnorm(-2, 2, scale=300**-0.5 / stats.truncnorm.std(-2, 2)),
    ),
    "normal": (
        INITS.variance_scaling(2.0, "fan_out", "normal"),
        stats.norm(scale=(2 / 400) ** 0.5),
    ),
    "uniform": (
        INITS.variance_scaling(1 / 3, "fan_in", "uniform"),
        stats.uniform(-(300**-0.5), 2 * 300**-0.5),
    ),
    "plain normal": (INITS.normal(0.01), stats.norm(scale=0.01)),
}


def draw(function, seed: int = 0):
    return jit_once(draw_at_once(function))(jax.random.key(seed))


def count_draws(function) -> list[tuple[int, ...]]:
    """Return the shapes of all random bits that the initialization draws."""
    text = str(jax.make_jaxpr(draw_at_once(function))(jax.random.key(0)))
    lines = (line for line in text.splitlines() if "random_bits" in line)
    return [tuple(map(int, line.split("u32[")[1].split("]")[0].split(","))) for line in lines]


class TwoLayers(nn.Module):
    """Two layers of weights, the second inside `remat`, with biases and a norm."""

    kernel_init: INITS.Initializer = KINDS["truncated"][0]
    layer: type = nn.Dense

    @nn.compact
    def __call__(self, x):
        x = self.layer(SHAPE[1], kernel_init=self.kernel_init, name="first")(x)
        x = nn.BatchNorm(use_running_average=False, name="norm")(x)
        return nn.remat(self.layer)(SHAPE[1], kernel_init=self.kernel_init, name="second")(x)


def start(**fields):
    return lambda key: TwoLayers(**fields).init(key, jnp.zeros((2, SHAPE[0])))


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_have_the_distribution_of_their_initializer(kind):
    init, distribution = KINDS[kind]
    kernel = np.asarray(draw(start(kernel_init=init))["params"]["first"]["kernel"]).ravel()
    # 120,000 values: mean and deviation within 5 standard errors, the whole distribution by
    # Kolmogorov and Smirnov.
    spread = distribution.std()
    assert abs(kernel.mean()) < 5 * spread / kernel.size**0.5
    assert abs(kernel.std() / spread - 1) < 5 / (2 * kernel.size) ** 0.5
    low, high = distribution.support()
    assert low * (1 + 1e-6) <= kernel.min() and kernel.max() <= high * (1 + 1e-6)
    assert stats.kstest(kernel, distribution.cdf).pvalue > 1e-4


def test_all_parameters_share_one_draw_and_none_of_its_bits():
    (size,) = count_draws(start())
    params = draw(start())["params"]
    kernels = [np.asarray(params[name]["kernel"]).ravel() for name in ("first", "second")]
    assert size[0] >= sum(kernel.size for kernel in kernels)
    length = min(map(len, kernels))
    for shift in (0, 1, length // 2):
        found = np.corrcoef(np.roll(kernels[0][:length], shift), kernels[1][:length])[0, 1]
        assert abs(found) < 5 / length**0.5
    assert np.all(params["first"]["bias"] == 0) and np.all(params["norm"]["scale"] == 1)


def test_seeds_give_the_same_bits_again_and_other_seeds_others():
    first, again, other = (
        np.asarray(draw(start(), seed)["params"]["second"]["kernel"]) for seed in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes()
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / first.size**0.5


def test_four_devices_get_the_bits_of_one():
    with jax.default_device(jax.devices()[0]):
        one = draw(start())
    mesh = Mesh(np.array(jax.devices()[:4]), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    four = jit_once(draw_at_once(start()), out_shardings=everywhere)(jax.random.key(0))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        assert len(b.devices()) == 4
        assert all(np.array_equal(a, shard.data) for shard in b.addressable_shards)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types_have_the_same_distribution(dtype, request):
    if dtype == "float64":
        request.getfixturevalue("x64")

    class Typed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.param("w", KINDS["truncated"][0], SHAPE, jnp.dtype(dtype)) * x

    w = draw(lambda key: Typed().init(key, jnp.ones((), dtype)))["params"]["w"]
    values, distribution = np.asarray(w, np.float64).ravel(), KINDS["truncated"][1]
    assert w.dtype == dtype
    assert abs(values.std() / distribution.std() - 1) < 0.01
    # bfloat16 has 8 bits: neighbors that are equal are most of the 120,000 values.
    assert np.unique(values).size > (30_000 if dtype == "float64" else 100)


def test_keys_of_the_users_own_are_used_as_they_are():
    def init(key, shape, dtype=jnp.float32):
        fixed = jax.random.normal(jax.random.key(7), shape, dtype)
        first, _ = jax.random.split(key)
        return fixed + 0 * jax.random.normal(first, shape, dtype)

    expected = jax.random.normal(jax.random.key(7), SHAPE)
    found = draw(start(kernel_init=init))["params"]["first"]["kernel"]
    np.testing.assert_array_equal(found, expected)


def test_equal_keys_get_equal_numbers():
    def init(key):
        child = jax.random.fold_in(key, 5)
        same = jax.random.fold_in(key, 5)
        return [
            jax.random.normal(each, (50,)) for each in (child, same, jax.random.fold_in(key, 6))
        ]

    first, again, other = draw(init)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_more_numbers_than_parameters_come_from_their_own_keys():
    def init(key):
        key = jax.random.fold_in(key, 1)
        return jax.random.normal(key, (1000,)).sum(), jax.random.normal(key, (1,))

    total, one = draw(init)
    assert np.isfinite(total) and np.isfinite(one).all()
