"""Custom networks compile, or are refused with the reason and a remedy."""

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
from pit_jax.neurons import IF, PIT, Ternary
from tests.helpers import jit_once
from tests.inference.checks import assert_runtime_equals_program

STEPS = 2
X = np.random.default_rng(0).standard_normal((4, 6, 6, 2), np.float32)


class CustomNetwork(nn.Module):
    """A network that runs a function."""

    run: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        return self.run(x)


def make_custom(run: Callable[[Array], Array]) -> tuple[nn.Module, Any, np.ndarray]:
    network = CustomNetwork(run)
    return network, jit_once(network.init)(jax.random.key(0), jnp.asarray(X)), X


def make_constant(run: Callable[[Array], Array]) -> tuple[nn.Module, Any, np.ndarray]:
    """Return a network whose variables are all 1, without compiling anything, to be refused."""
    network = CustomNetwork(run)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.asarray(X))
    return network, jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes), X


def repeat_over_time(x: Array) -> Array:
    return jnp.broadcast_to(x[:, None], (len(x), STEPS, *x.shape[1:]))


def flatten(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1)


def make_network_after(part: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a network whose neurons read the output of `part` on images."""
    return lambda x: nn.Dense(5)(flatten(PIT(levels=4)(part(repeat_over_time(x)))))


pool = partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2))


def test_weights_read_pixels_after_pools_and_reshapes():
    parts = (
        lambda x: nn.Dense(9)(flatten(x)),
        lambda x: nn.Conv(4, (3, 3))(pool(x)),
        pool,
        lambda x: nn.Dense(9)(flatten(PIT(levels=2)(x)) + 0.5),  # A bias of inputs.
        lambda x: nn.Conv(4, (3, 3), strides=2, padding="SAME")(x),
    )
    # The neurons of one network, whose logits are a sum, read all parts.
    program = compile(*make_custom(lambda x: sum(make_network_after(part)(x) for part in parts)))
    x = X * np.linspace(0.1, 2, len(X), dtype=np.float32)[:, None, None, None]
    trace = program.trace(x)
    assert len(trace) == 6 and all(spikes.any() for spikes in trace.values())
    assert program.verify(x) and program.proof.largest_difference < 1e-4
    assert_runtime_equals_program(program, x)


def test_a_maximum_of_sums_of_binary_spikes_folds():
    maxima = lambda x: nn.max_pool(pool(PIT(levels=1)(repeat_over_time(x))), (2, 2))  # noqa: E731
    program = compile(*make_custom(lambda x: nn.Dense(5)(flatten(maxima(x)))))
    assert program.verify(X)
    assert_runtime_equals_program(program, X)


@pytest.mark.parametrize(
    "run, message",
    [
        (lambda x: nn.Dense(5)(flatten(repeat_over_time(x))), "has no neurons, and so no spikes"),
        (lambda x: jnp.zeros((len(x), STEPS, 5)), "logits are the same whatever the input is"),
        (lambda x: nn.Dense(5)(PIT()(x)), "PIT_0 reads values without a time axis. Repeat images"),
        (
            make_network_after(nn.gelu),
            "no rule for integer_pow, .* instead of an activation function such as gelu, use a",
        ),
        (
            make_network_after(nn.relu),
            "no rule for relu, in CustomNetwork. Use a neuron of pit_jax.neurons instead of an",
        ),
        (make_network_after(abs), "no rule for abs, in CustomNetwork. .*; there are rules"),
        (
            lambda x: jax.nn.softmax(make_network_after(pool)(x)),
            "rule for reduce_max.* For a softmax, return",
        ),
        (
            lambda x: make_network_after(pool)(x)[:, -1],
            "no rule for .*slice, in .* average logits over time instead of picking a step",
        ),
        (
            lambda x: PIT()(nn.Dense(5)(flatten(PIT()(repeat_over_time(x))).mean(1))[:, None]),
            "PIT_0 reads a mean over time.* Average the logits, at the end of the network",
        ),
        (
            lambda x: make_network_after(pool)(x).sum(0),
            "a sum over samples, in .*. Return logits of each sample",
        ),
        (lambda x: PIT()(repeat_over_time(x)), r"shape \(4, 2, 6, 6, 2\). Return logits \[B, T, K"),
        (lambda x: (make_network_after(pool)(x), 0), "returns a tuple, .* of the logits alone"),
        (
            make_network_after(lambda x: nn.BatchNorm(use_running_average=True, axis=2)(x)),
            "BatchNorm_0 normalizes axis 2; only axis -1 has a rule. Keep channels last",
        ),
        (
            make_network_after(lambda x: nn.Conv(4, (3, 3), mask=jnp.ones((3, 3, 2, 4)))(x)),
            "Conv_0 has a mask, for which there is no rule. Put it in the kernel",
        ),
        (
            make_network_after(lambda x: nn.Conv(4, (3, 3))(x - 0.5)),
            "Conv_0 reads a sum with a bias.* Add the bias after the layer, or to the images",
        ),
        (
            lambda x: nn.Dense(5)(
                flatten(nn.max_pool(pool(PIT(levels=4)(repeat_over_time(x))), (2, 2)))
            ),
            "the max-pool .* reads sums of counts.* Put the max-pool in front, or use one level",
        ),
    ],
)
def test_refusals_name_the_place_and_the_remedy(run, message):
    with pytest.raises(NotFoldable, match=message):
        compile(*make_constant(run))


class DoubledNorm(nn.BatchNorm):
    """A subclass of a norm that computes something else."""

    def __call__(self, x: Array, *args: Any, **keywords: Any) -> Array:
        return 2 * jnp.exp(super().__call__(x, *args, **keywords))


class RunningSum(nn.Module):
    """A neuron in plain JAX; its scan is an equation with two outputs."""

    def __call__(self, x: Array) -> Array:
        _, out = jax.lax.scan(lambda v, i: (v + i, v + i), x[:, 0], x.swapaxes(0, 1))
        return out.swapaxes(0, 1)


class ScaledNeuron(nn.Module):
    """A library neuron with a computed amplitude."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(jnp.float32(2)) * PIT(levels=2)(x)


@pytest.mark.parametrize(
    "part, message, path",
    [
        (lambda x: DoubledNorm(use_running_average=True)(x), "no rule for", "DoubledNorm_0"),
        (lambda x: RunningSum()(x), "no rule for", "RunningSum_0"),
    ],
)
def test_a_refusal_inside_a_custom_module_names_it(part, message, path):
    with pytest.raises(NotFoldable, match=f"{message}.*{path}") as error:
        compile(*make_constant(make_network_after(part)))
    assert error.value.path == path


def test_a_custom_neuron_made_of_library_parts_folds():
    program = compile(
        *make_custom(lambda x: nn.Dense(5)(flatten(ScaledNeuron()(repeat_over_time(x)))))
    )
    assert program.verify(X) and list(program.trace(X)) == ["ScaledNeuron_0/PIT_0"]
    assert program.proof.largest_difference < 1e-4


def test_other_repetitions_are_refused_with_the_function_to_use():
    def repeat(x: Array) -> Array:
        return jnp.repeat(x[:, None], STEPS, axis=2)

    with pytest.raises(NotFoldable, match="by repetition.*pit_jax.layers.repeat_over_time"):
        compile(*make_constant(lambda x: nn.Dense(5)(flatten(PIT()(repeat(x))))))


def join_spikes(join: Callable[[Array, Array], Array], *neurons: Any) -> Callable[[Array], Array]:
    """Return a network in which `join` is a function of the spikes of two neurons."""

    def run(x: Array) -> Array:
        x = repeat_over_time(x)
        a, b = (neuron()(nn.Conv(4, (3, 3))(x)) for neuron in neurons)
        return nn.Dense(5)(flatten(PIT(levels=4)(nn.Conv(4, (3, 3))(join(a, b)))))

    return run


JOINS = {
    "1 - b": lambda a, b: a * (1 - b),
    "a - a b": lambda a, b: a - a * b,
    "1 + b": lambda a, b: a * (1 + b),
}


@pytest.mark.parametrize(
    "name, neurons",
    [
        ("1 + b", (IF, IF)),
        ("1 + b", (Ternary, IF)),
        ("1 + b", (IF, Ternary)),
        ("1 - b", (IF, Ternary)),
        ("1 - b", (Ternary, Ternary)),
    ],
)
def test_products_whose_factor_can_be_2_are_refused(name, neurons):
    with pytest.raises(
        NotFoldable,
        match="has the factor 1 . spikes, or 1 - spikes that can be -1.* Use 1 -",
    ):
        compile(*make_constant(join_spikes(JOINS[name], *neurons)))


@pytest.mark.parametrize(
    "name, neurons",
    [("1 - b", (IF, IF)), ("1 - b", (Ternary, IF)), ("a - a b", (Ternary, Ternary))],
)
def test_products_of_binary_or_signed_spikes_equal_the_network(name, neurons):
    model, variables, _ = make_custom(join_spikes(JOINS[name], *neurons))
    program = compile(model, variables, 3 * X, verify=False)
    assert program.verify(3 * X)
    expected = np.asarray(model.apply(variables, 3 * X)).mean(1)
    np.testing.assert_allclose(program(3 * X), expected, atol=1e-4)
