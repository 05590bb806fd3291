"""Any module or function `apply(variables, x)` compiles: frames of features, means over time."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from pit_jax.analysis import energy
from pit_jax.inference import NotFoldable, SpikingProgram, compile
from pit_jax.inference.compiler.remedies import REMEDIES
from pit_jax.inference.compiler.trace import make_apply
from pit_jax.layers import repeat_over_time
from pit_jax.neurons import IF, LIF, PIT, PITFull
from tests.helpers import jit_once
from tests.inference.checks import assert_runtime_equals_program
from tests.inference.networks import make_constant_network

X = np.random.default_rng(0).standard_normal((6, 2, 12), np.float32)


class FeatureNetwork(nn.Module):
    """The network of the README: features at every step, logits averaged over time."""

    neuron: Any = partial(PIT, levels=4)

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(5)(self.neuron()(nn.Dense(9)(x))).mean(axis=1)


class SwitchedNetwork(nn.Module):
    """A network whose `train` must be given, with a batch norm and dropout."""

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(9)(x))
        x = nn.Dropout(0.5, deterministic=not train)(PIT(levels=2)(x))
        return nn.Dense(5)(x)


def assert_equals(program: SpikingProgram, logits: Any, x: Any = X) -> None:
    assert program.proof, str(program.proof)
    assert program.proof.largest_difference < 1e-4
    np.testing.assert_allclose(program(x), logits, atol=1e-4)


@pytest.fixture(scope="module")
def features() -> tuple[nn.Module, Any]:
    network = FeatureNetwork()
    return network, jit_once(network.init)(jax.random.key(0), X)


@pytest.fixture(scope="module")
def program(features) -> SpikingProgram:
    return compile(*features, X)


def test_frames_of_features_with_logits_averaged_over_time_compile(features, program):
    network, variables = features
    assert program.num_steps == 2
    assert_equals(program, network.apply(variables, X))
    assert {path: s.shape for path, s in program.trace(X).items()} == {"PIT_0": (6, 2, 4, 9)}
    # Features without time enter at every step, as an image does.
    same = jnp.repeat(X[:, :1], 2, axis=1)
    assert np.array_equal(program(X[:, 0]), program(same))
    assert_runtime_equals_program(program, X)
    assert program.costs(X).total("macs") == 2 * 12 * 9
    assert program.costs(X[:, 0]).total("macs") == 12 * 9


# Jitted here, as jits within a test get options that JAX refuses inside others.
jitted = jax.jit(FeatureNetwork().apply)
FUNCTIONS = {
    "apply": FeatureNetwork().apply,
    "a function": lambda v, x: FeatureNetwork().apply(v, x),
    "jitted": jitted,
    "jitted inside": lambda v, x: 2 * jitted(v, x) / 2,
    "rematerialized": jax.checkpoint(FeatureNetwork().apply),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_compiles_to_the_program_of_its_module(name, features, program):
    _, variables = features
    if "jit" in name:
        jitted(variables, X)  # JAX has traced it already.
    same = compile(FUNCTIONS[name], variables, X, verify=False)
    assert same.fingerprint == program.fingerprint


def test_a_function_is_compared_with_its_own_logits(features, program):
    network, variables = features
    same = compile(lambda v, x: network.apply(v, x), variables, X)
    assert str(same.proof) == str(program.proof) and "trained network" in str(same.proof)
    # Other numbers of samples are traced when they come.
    assert same.verify([X, X[:3]], [np.zeros(6, int), np.zeros(3, int)]).samples == 9


def test_plain_jax_with_neurons_compiles():
    def apply(params: Any, x: Array) -> Array:
        hidden = x @ params["first"] + params["bias"]
        for at in range(2):
            hidden = PIT(levels=4).apply(params["neurons"][at], hidden) @ params["square"]
        return hidden.sum(1)

    draw = np.random.default_rng(1)
    scale = {"params": {"a": jnp.full((2, 9), 0.4)}}
    params = {
        "first": draw.standard_normal((12, 9), np.float32),
        "bias": draw.standard_normal(9).astype(np.float32),
        "square": draw.standard_normal((9, 9), np.float32),
        "neurons": [scale, scale],
    }
    program = compile(apply, params, X)
    assert list(program.trace(X)) == ["PIT_0", "PIT_1"]
    assert_equals(program, apply(params, jnp.asarray(X)))


def test_a_module_that_needs_train_runs_in_evaluation_mode():
    network = SwitchedNetwork()
    variables = jit_once(partial(network.init, train=False))(jax.random.key(0), X)
    program = compile(network, variables, X)
    assert_equals(program, network.apply(variables, X, train=False).mean(1))
    same = compile(partial(network.apply, train=False), variables, X, verify=False)
    assert same.fingerprint == program.fingerprint
    training = partial(network.apply, train=True)
    with pytest.raises(NotFoldable, match="changes its variables.* evaluation mode"):
        compile(training, variables, X)
    with pytest.raises(NotFoldable, match="statistics of a batch.* evaluation mode"):
        compile(lambda v, x: training(v, x, mutable=["batch_stats"])[0], variables, X)
    dropout = nn.Dropout(0.5, deterministic=False)
    with pytest.raises(NotFoldable, match="draws random numbers.* evaluation mode"):
        compile(dropout.apply, {}, X)
    with pytest.raises(NotFoldable, match="no rule for .* evaluation mode"):
        compile(partial(dropout.apply, rngs={"dropout": jax.random.key(0)}), {}, X)


def compile_function(run: Any, x: Any = X) -> tuple[SpikingProgram, Any]:
    """Return the program of a network that runs a function, and the logits of the network."""
    x = jnp.asarray(x)

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x: Array) -> Array:
            return run(x)

    network = Network()
    variables = jit_once(network.init)(jax.random.key(0), x)
    return compile(network, variables, x), network.apply(variables, x)


READOUTS = {
    "a mean of spikes, then weights": lambda s: nn.Dense(5)(s.mean(1)),
    "a sum, then a norm": lambda s: nn.BatchNorm(use_running_average=True)(nn.Dense(5)(s.sum(1))),
    "a mean minus a number, divided": lambda s: -(nn.Dense(5)(s).mean(1) - 0.5) / 3,
    "two heads": lambda s: nn.Dense(5)(s.mean(1)) + nn.Dense(5)(s).mean(1),
}


@pytest.mark.parametrize("name", READOUTS)
def test_readouts_over_time_compile(name):
    program, logits = compile_function(lambda x: READOUTS[name](PIT()(nn.Dense(9)(x))))
    assert_equals(program, logits)
    assert_runtime_equals_program(program, X)


@pytest.mark.parametrize("last", [lambda x: x[:, 0], lambda x: x.squeeze(1), lambda x: x[:, -1]])
def test_one_step_is_its_own_mean(last):
    program, logits = compile_function(lambda x: last(nn.Dense(5)(PIT()(nn.Dense(9)(x)))), X[:, :1])
    assert program.num_steps == 1
    assert_equals(program, logits, X[:, :1])


def test_layers_before_the_axis_of_time_compile():
    images = np.random.default_rng(0).standard_normal((4, 6, 6, 2), np.float32)

    def run(x: Array) -> Array:
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.Conv(4, (3, 3))(x) + 0.25
        x = jnp.broadcast_to(x[:, None], (len(x), 3, *x.shape[1:]))
        return nn.Dense(5)(IF()(x).reshape(len(x), 3, -1))

    program, logits = compile_function(run, images)
    assert program.num_steps == 3
    assert_equals(program, logits.mean(1), images)


REPETITIONS = {
    "repeat": lambda x: jnp.repeat(x[:, None], 3, axis=1),
    "stack": lambda x: jnp.stack([x] * 3, axis=1),
    "tile": lambda x: jnp.tile(x[:, None], (1, 3, 1)),
    "broadcast": lambda x: jnp.broadcast_to(x[:, None], (len(x), 3, x.shape[-1])),
}


def test_features_are_repeated_over_time_in_any_way():
    def apply(variables: Any, x: Array, repeat: Any) -> Array:
        return PIT().apply(variables, repeat(x @ weight)) @ weight.T

    weight = np.random.default_rng(1).standard_normal((12, 9), np.float32)
    variables = {"params": {"a": jnp.full((3, 9), 0.5)}}
    programs = [
        compile(partial(apply, repeat=repeat), variables, X[:, 0], verify=name == "repeat")
        for name, repeat in REPETITIONS.items()
    ]
    assert_equals(programs[0], apply(variables, X[:, 0], REPETITIONS["tile"]).mean(1), X[:, 0])
    assert len({program.fingerprint for program in programs}) == 1
    mixed = lambda x: jnp.stack([x, 2 * x, x], axis=1)  # noqa: E731
    with pytest.raises(NotFoldable, match="no rule for stack"):
        compile(partial(apply, repeat=mixed), variables, X[:, 0])


def test_a_neuron_that_is_called_twice_is_two_layers():
    def run(x: Array) -> Array:
        lif = LIF(threshold=0.3)
        return nn.Dense(5)(lif(nn.Dense(9)(lif(x))))

    program, logits = compile_function(run)
    assert list(program.slots) == ["LIF_0", "LIF_0_call2"]
    assert_equals(program, logits.mean(1))


@jax.jit
def add(x: Array, y: Array) -> Array:
    """Return something that is not a sum, under the name of an operation with a rule."""
    return -(x - 3 * y)


def test_jitted_functions_are_followed_whatever_their_names():
    program, logits = compile_function(lambda x: nn.Dense(5)(PIT()(add(x, 2 * nn.Dense(12)(x)))))
    assert_equals(program, logits.mean(1))


@pytest.mark.parametrize(
    "run, message",
    [
        (
            lambda x: nn.Dense(5)(PIT()(x, None, True)[0]),
            "Call it without initial_state and return_",
        ),
        (lambda x: nn.Dense(5)(PIT()(x).swapaxes(1, 2)), "no rule for transpose.* Keep .B, T, "),
        (lambda x: nn.Dense(5)(PIT()(x) + PIT()(x[:, :1])), "no rule for .*slice"),
        (lambda x: nn.Dense(5)(PITFull()(x).max(1)), "no rule for reduce_max.* nn.max_pool"),
        (lambda x: nn.LayerNorm()(LIF()(x)), "Use a batch norm"),
        (lambda x: nn.sigmoid(nn.Dense(5)(PIT()(x))), "no rule for logistic.* return the logits"),
        (lambda x: jax.lax.scan(lambda v, i: (v + i, v), x, x)[1], "no rule for scan.* a neuron"),
    ],
)
def test_refusals_name_the_remedy(run, message):
    with pytest.raises(NotFoldable, match=message) as error:
        compile_function(run)
    assert error.value.remedy and str(error.value).endswith(error.value.remedy)


@pytest.mark.parametrize(
    "layer, message",
    [
        (
            lambda: nn.ConvTranspose(3, (3, 3)),
            "ConvTranspose_0 is of the class .* Use nn.Conv itself",
        ),
        (lambda: nn.Conv(3, (3,)), "Conv_0 is a convolution over 1 axes, .* Use one over H and W"),
    ],
)
def test_other_convolutions_are_refused(layer, message):
    x = np.ones((2, 2, 4, 4, 3), np.float32)
    with pytest.raises(NotFoldable, match=message):
        compile_function(lambda x: nn.Dense(5)(PIT()(layer()(x)).mean((2, 3))), x)


def test_an_image_without_the_axis_of_time_is_not_repeated():
    x = jnp.asarray(X)
    assert repeat_over_time(x[:, :1], 3).shape == (6, 3, 12)
    with pytest.raises(ValueError, match=r"takes one step \[B, 1, ...\], got \(6, 2, 12\); add"):
        repeat_over_time(x, 3)


def test_layers_inside_vmap_are_refused():
    def apply(variables: Any, x: Array) -> Array:
        return jax.vmap(lambda one: PIT().apply(variables, one[None])[0])(x)

    with pytest.raises(NotFoldable, match="PIT is called inside jax.vmap.* on a whole batch"):
        compile(apply, {"params": {"a": jnp.ones((2, 12))}}, X)


def test_models_that_are_not_networks_are_refused():
    with pytest.raises(ValueError, match="apply.variables, x. that returns logits; got dict"):
        make_apply({"params": {}})
    with pytest.raises(ValueError, match=r"got the class FeatureNetwork; pass FeatureNetwork\("):
        make_apply(FeatureNetwork)


class Net(nnx.Module):
    """The network of features in nnx, with the neuron of linen."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.hidden = nnx.Linear(12, 9, rngs=rngs)
        self.neuron = nnx.bridge.ToNNX(PIT(levels=4), rngs=rngs)
        self.head = nnx.Linear(9, 5, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.head(self.neuron(self.hidden(x))).mean(axis=1)


def test_an_nnx_module_compiles_as_a_function_without_random_numbers():
    net = nnx.bridge.lazy_init(Net(), jnp.asarray(X))
    with pytest.raises(ValueError, match="nnx or Equinox pass lambda variables, x: model"):
        compile(net, None, X)
    with pytest.raises(NotFoldable, match="to_nnx__rngs = None in each"):
        compile(lambda _, x: net(x), None, X)
    net.neuron.to_nnx__rngs = None
    assert_equals(compile(lambda _, x: net(x), None, X), net(X))


def test_missing_variables_and_wrong_inputs_are_refused(features, program):
    network, variables = features
    for parts in (variables["params"], {}):
        with pytest.raises(ValueError, match="Pass all that network.init returned"):
            compile(network, parts, X)
    with pytest.raises(ValueError, match=r"of at least one sample; got \(0, 2, 12\)"):
        compile(network, variables, X[:0])
    with pytest.raises(ValueError, match=r"takes features \[B, 12\] or steps of them \[B, 2, 12\]"):
        program(X[..., :3])


def test_no_operation_has_two_remedies():
    names = [name for known in REMEDIES for name in known]
    assert len(names) == len(set(names))


def test_networks_of_the_library_compile_from_functions():
    model, variables, x = make_constant_network("cifarnet", IF, 2)
    function = lambda v, x: model.apply(v, x, train=False).mean(1)  # noqa: E731
    first, second = (compile(each, variables, x, verify=False) for each in (model, function))
    assert first.num_steps == second.num_steps == 2
    assert list(first.slots) == list(second.slots)


def test_the_energy_of_frames_of_features_is_that_of_their_program(features, program):
    network, variables = features
    report = energy.report(network, variables, X)
    costs = program.costs(X)
    assert repr(report) == str(report) and "<pre>" in report._repr_html_()
    assert report.conventions["honest"].macs == costs.total("macs")
    assert report.conventions["honest"].accumulations == pytest.approx(costs.total("accumulations"))
