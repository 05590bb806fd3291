"""Networks that are none of the zoo fold too, or are refused in words that say what to do."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from pit_jax.inference import NotFoldable, compile
from pit_jax.neurons import PIT

STEPS = 2
X = np.random.default_rng(0).standard_normal((4, 6, 6, 2), np.float32)


class Own(nn.Module):
    """A network made of a function."""

    run: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return self.run(x)


def own(run: Callable[[Array], Array]) -> tuple[nn.Module, Any, np.ndarray]:
    network = Own(run)
    return network, network.init(jax.random.key(0), jnp.asarray(X)), X


def repeated(x: Array) -> Array:
    return jnp.broadcast_to(x[:, None], (len(x), STEPS, *x.shape[1:]))


def row(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1)


def behind(part: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A network whose neurons see what a part makes of the images."""
    return lambda x: nn.Dense(5)(row(PIT(levels=4)(part(repeated(x)))))


pooled = partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2))


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(lambda x: nn.Dense(9)(row(x)), id="a row of pixels"),
        pytest.param(lambda x: nn.Conv(4, (3, 3))(pooled(x)), id="means of pixels"),
        pytest.param(pooled, id="means alone"),
        pytest.param(lambda x: nn.Dense(9)(row(PIT(levels=2)(x)) + 0.5), id="a bias of inputs"),
        pytest.param(lambda x: nn.Conv(4, (3, 3), strides=2, padding="SAME")(x), id="SAME"),
    ],
)
def test_weights_read_pixels_behind_pools_and_reshapes(part):
    program = compile(*own(behind(part)))
    x = X * np.linspace(0.1, 3, len(X), dtype=np.float32)[:, None, None, None]
    assert program.verify(x) and any(spikes.any() for spikes in program.trace(x).values())
    assert np.array_equal(program.event_driven()(x), program(x))
    assert program.proof.largest_difference < 1e-4


def test_a_maximum_of_sums_of_binary_spikes_folds():
    maxima = lambda x: nn.max_pool(pooled(PIT(levels=1)(repeated(x))), (2, 2))  # noqa: E731
    program = compile(*own(lambda x: nn.Dense(5)(row(maxima(x)))))
    assert program.verify(X) and np.array_equal(program.event_driven()(X), program(X))


@jax.jit
def add(x: Array, y: Array) -> Array:
    """Not a sum."""
    return x - 3 * y


@pytest.mark.parametrize(
    "run, says",
    [
        (lambda x: nn.Dense(5)(row(repeated(x))), "has no neurons, and so no spikes"),
        (lambda x: jnp.zeros((len(x), STEPS, 5)), "logits are the same whatever the input is"),
        (
            lambda x: nn.Dense(5)(row(PIT()(repeated(nn.Conv(4, (3, 3))(x))))),
            r"Conv_0 reads \(4, 6, 6, 2\), without an axis of time; repeat images in front",
        ),
        (behind(nn.relu), "no rule for relu, in Own; there are rules for nn.Conv, nn.Dense"),
        (behind(abs), "no rule for abs, in Own; there are rules"),
        (behind(lambda x: add(x, 2 * x)), "no rule for add, in Own"),
        (
            behind(lambda x: nn.BatchNorm(use_running_average=True, axis=2)(x)),
            "BatchNorm_0 norms axis 2; there is a rule for axis -1 only",
        ),
        (
            behind(lambda x: nn.Conv(4, (3, 3), mask=jnp.ones((3, 3, 2, 4)))(x)),
            "Conv_0 has a mask, for which there is no rule; put it in the kernel",
        ),
        (
            behind(lambda x: nn.Conv(4, (3, 3))(x - 0.5)),
            "Conv_0 reads a sum with a bias.* Add the bias after the layer, or to the images",
        ),
        (
            lambda x: nn.Dense(5)(row(nn.max_pool(pooled(PIT(levels=4)(repeated(x))), (2, 2)))),
            "the max-pool .* is of sums of counts.* Put the max-pool in front, or use one level",
        ),
    ],
)
def test_what_is_refused_names_the_place_and_the_way_out(run, says):
    with pytest.raises(NotFoldable, match=says):
        compile(*own(run))


class Doubled(nn.BatchNorm):
    """A norm that is not what it is derived from."""

    def __call__(self, x: Array, *args: Any, **keywords: Any) -> Array:
        return 2 * jnp.exp(super().__call__(x, *args, **keywords))


class Summed(nn.Module):
    """A neuron in plain JAX, whose loop has two results."""

    def __call__(self, x: Array) -> Array:
        _, out = jax.lax.scan(lambda v, i: (v + i, v + i), x[:, 0], x.swapaxes(0, 1))
        return out.swapaxes(0, 1)


class Scaled(nn.Module):
    """A neuron of ours, with an amplitude that is computed from another number."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(jnp.float32(2)) * PIT(levels=2)(x)


@pytest.mark.parametrize(
    "part, says, path",
    [
        (lambda x: Doubled(use_running_average=True)(x), "no rule for", "Doubled_0"),
        (lambda x: Summed()(x), "no rule for", "Summed_0"),
    ],
)
def test_a_module_of_a_user_is_followed_inside_and_named_where_it_is_refused(part, says, path):
    with pytest.raises(NotFoldable, match=f"{says}.*{path}") as error:
        compile(*own(behind(part)))
    assert error.value.path == path


def test_a_neuron_of_a_user_that_is_made_of_ours_folds():
    program = compile(*own(lambda x: nn.Dense(5)(row(Scaled()(repeated(x))))))
    assert program.verify(X) and list(program.trace(X)) == ["Scaled_0/PIT_0"]
    assert program.proof.largest_difference < 1e-4


def test_an_image_repeated_by_other_means_is_refused_with_what_to_use():
    def repeat(x: Array) -> Array:
        return jnp.repeat(x[:, None], STEPS, axis=1)

    with pytest.raises(NotFoldable, match="by repetition.*pit_jax.layers.repeat_over_time"):
        compile(*own(lambda x: nn.Dense(5)(row(PIT()(repeat(x))))))
