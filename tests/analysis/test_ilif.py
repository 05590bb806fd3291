"""The I-LIF twin of a PIT network: equal integers and logits, or a refusal with the reason."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from pit_jax.analysis import to_ilif
from pit_jax.layers.norm import TDBatchNorm, no_norm
from pit_jax.models import create
from pit_jax.neurons import ILIF, LIF, PIT, QAT, QBLIF, PITFull
from pit_jax.neurons.probe import neuron_probes
from pit_jax.neurons.scale import released
from tests.helpers import jit_once
from tests.models.reduced import REDUCED

PIT4 = partial(PIT, levels=4)


def draw_variables(model, x):
    """Return variables whose scales, statistics and norms differ from channel to channel."""
    draw = np.random.default_rng(0)

    def draw_leaf(path, leaf):
        match path[-1].key:
            case "kernel":
                values = draw.normal(0, 2 / math.sqrt(math.prod(leaf.shape[:-1])), leaf.shape)
            case "bias" | "mean":
                values = draw.normal(0, 0.3, leaf.shape)
            case _:
                values = draw.uniform(0.4, 1.2, leaf.shape)
        return jnp.asarray(values, leaf.dtype)

    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    kept = {key: shapes[key] for key in ("params", "batch_stats") if key in shapes}
    return jax.tree_util.tree_map_with_path(draw_leaf, kept)


def make(name, neuron=PIT4, **kw):
    """Return a small network, its variables and images, in float64 under x64."""
    row = REDUCED[name]
    model = create(name, num_classes=5, neuron=neuron, **{**row.kw, **kw})
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, *row.shape)))
    return model, draw_variables(model, x), x


@partial(jit_once, static_argnums=0)
def run(model, variables, x):
    logits, sown = model.apply(variables, x, mutable=["intermediates"])
    return logits, [layer["count"] for layer in neuron_probes(sown["intermediates"]).values()]


def assert_twin_is_equal(model, variables, x, twin, twin_variables):
    logits, counts = run(model, variables, x)
    want, twin_counts = run(twin, twin_variables, x)
    assert len(counts) == len(twin_counts) and max(count.max() for count in counts) >= 2
    for count, twin_count in zip(counts, twin_counts, strict=True):
        np.testing.assert_array_equal(count, twin_count)
    np.testing.assert_allclose(logits, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "name, fields",
    [
        ("resnet8", {"stages": (2, 1)}),  # With and without a convolution in the shortcut.
        ("resnet8", {"neuron": partial(PIT, levels=3, decay_input=True, parametrize=released)}),
        ("resnet8", {"neuron": QBLIF, "norm": TDBatchNorm}),
        ("vgg11", {"neuron": QAT}),
        ("cifarnet", {"norm": no_norm}),  # Weights in place of a norm; flattened maps.
    ],
    ids=["resnet8", "released", "QBLIF", "QAT", "no norm"],
)
def test_the_twin_fires_equal_integers_and_has_equal_logits(x64, name, fields):
    model, variables, x = make(name, **fields)
    twin, twin_variables = to_ilif(model, variables)
    neuron = twin.neuron()
    assert isinstance(neuron, ILIF) and neuron.levels == model.neuron().levels
    assert not any(path[-1].key == "a" for path, _ in jax.tree.leaves_with_path(twin_variables))
    assert_twin_is_equal(model, variables, x, twin, twin_variables)
    # An initialized I-LIF network has the same variables.
    shapes = jax.eval_shape(twin.init, jax.random.key(0), x)
    assert jax.tree.structure(twin_variables) == jax.tree.structure(
        {key: shapes[key] for key in twin_variables}
    )


@pytest.mark.slow
@pytest.mark.parametrize("name, shape", [("resnet8", (8, 8, 1)), ("resnet18", (32, 32, 3))])
def test_the_papers_networks_at_full_width_have_twins(x64, name, shape):
    model = create(name, num_classes=10, neuron=PIT4)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, *shape)))
    variables = draw_variables(model, x)
    assert_twin_is_equal(model, variables, x, *to_ilif(model, variables))


def test_frozen_variables_and_a_given_shape_make_the_same_twin():
    model, variables, x = make("resnet8")
    _, want = to_ilif(model, variables)
    _, found = to_ilif(model, freeze(variables), x.shape)
    jax.tree.map(np.testing.assert_array_equal, found, want)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))


class Grouped(nn.Module):
    """A grouped convolution and a linear layer that reads positions and channels."""

    neuron: type = PIT4

    @nn.compact
    def __call__(self, x):
        wide = {"param_dtype": x.dtype}
        x = nn.Conv(6, (3, 3), **wide)(x)[:, None]
        x = self.neuron()(nn.BatchNorm(use_running_average=True, **wide)(x))
        x = nn.Conv(4, (3, 3), feature_group_count=2, **wide)(x)
        x = nn.max_pool(self.neuron()(x)[:, 0], (2, 2), (2, 2))[:, None]
        return nn.Dense(3, **wide)(x.reshape(*x.shape[:2], -1) / 2)


def test_a_network_of_your_own_has_a_twin(x64):
    model, x = Grouped(), jnp.asarray(np.random.default_rng(1).normal(0, 3, (4, 8, 8, 2)))
    variables = draw_variables(model, x)
    assert_twin_is_equal(model, variables, x, *to_ilif(model, variables))


class Wrapped(nn.Module):
    """A network whose last layer, or whose neuron, is not one plain layer."""

    reuse: bool
    neuron: type = PIT4

    @nn.compact
    def __call__(self, x):
        neuron = self.neuron()
        x = neuron(nn.Dense(4)(x)[:, None])
        if self.reuse:
            return nn.Dense(3)(neuron(nn.Dense(4)(x)))
        return nn.WeightNorm(nn.Dense(3))(x)


@pytest.mark.parametrize(
    "reuse, reason",
    [
        (True, "PIT_0_call2 is a further call of a layer"),
        (False, "computes the weights of .*Dense_1 from its variables, as nn.WeightNorm"),
    ],
)
def test_layers_called_twice_and_computed_weights_are_refused(reuse, reason):
    model, x = Wrapped(reuse), jnp.ones((2, 5))
    with pytest.raises(ValueError, match=reason):
        to_ilif(model, draw_variables(model, x), x.shape)


class Reading(nn.Module):
    """A network that reads its spikes with `read`."""

    read: Callable
    neuron: type = PIT4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(self.read(self.neuron()(nn.Dense(4)(x)[:, None])))


STRIDES = {"window_dimensions": (1, 1, 1), "window_strides": (1, 1, 2), "padding": "VALID"}


@pytest.mark.parametrize(
    "read, name",
    [
        (lambda x: x.astype(int).astype(float), "convert_element_type"),
        (lambda x: (x > 1).astype(float), "gt"),
        (lambda x: x * x, "mul"),
        (lambda x: x + 1, "add"),
        (lambda x: x[..., :3], "slice"),
        (lambda x: x.reshape(*x.shape[:2], 2, 2).sum(-1), "reshape"),
        (lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, **STRIDES), "reduce_window_sum"),
    ],
)
def test_operations_whose_result_depends_on_the_unit_or_mixes_channels_are_refused(read, name):
    model, x = Reading(read), jnp.ones((2, 5))
    with pytest.raises(ValueError, match=f"has no rule for {name} in Reading"):
        to_ilif(model, draw_variables(model, x), x.shape)


@pytest.mark.parametrize(
    "name, fields, reason",
    [
        ("resnet19", {}, "spikes of PIT_0 and the membranes of .*PIT_1 are in one sum"),
        ("sew_resnet18", {}, "spikes of PIT_0 and the spikes of .*PIT_1 are in one sum"),
        ("ms_resnet18", {"stages": (2, 1)}, "membranes of .*PIT_0 and the membranes of .*PIT_0 "),
        ("resnet8", {"num_steps": 2}, "one time step, got T=2"),
    ],
)
def test_networks_without_a_twin_are_refused_with_the_reason(name, fields, reason):
    model, variables, _ = make(name, **fields)
    with pytest.raises(ValueError, match=reason):
        to_ilif(model, variables)


@pytest.mark.parametrize(
    "name, fields, reason",
    [
        ("resnet8", {"neuron": LIF}, "makes LIF; to_ilif takes PIT, QAT, QBLIF"),
        ("resnet8", {"neuron": PITFull}, "makes PITFull"),
        ("spike_driven_transformer", {"gate_neuron": LIF}, "gate_neuron of the network makes LIF"),
    ],
)
def test_other_neurons_are_refused_by_their_field(name, fields, reason):
    model = create(name, num_classes=5, **{"neuron": PIT4, **fields})
    with pytest.raises(ValueError, match=reason):
        to_ilif(model, {"params": {}})


def test_equal_scales_may_be_summed(x64):
    model, variables, x = make("resnet19")
    ones = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.ones_like(leaf) if path[-1].key == "a" else leaf, variables
    )
    assert_twin_is_equal(model, ones, x, *to_ilif(model, ones))


def test_wrong_arguments_are_refused():
    model, variables, _ = make("resnet8")
    with pytest.raises(ValueError, match="model must be a Flax module with a field `neuron`"):
        to_ilif(nn.Dense(5), variables)
    with pytest.raises(ValueError, match="variables must be all .*; got stem"):
        to_ilif(model, {"stem": variables["params"]["stem"]})
    variables["params"]["PIT_0"]["a"] *= jnp.nan
    with pytest.raises(ValueError, match="PIT_0 has scales that are not finite"):
        to_ilif(model, variables)
    with pytest.raises(ValueError, match="no common size of images fits .* pass the shape"):
        to_ilif(model, {"params": variables["params"]})
