"""ResNet19, 20 and 34, with neurons after the sums: layers, initial values, dropout."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.layers import batch_norm
from pit_jax.layers.norm import no_norm
from pit_jax.models import create
from pit_jax.models.residual import Layers, mean_head
from pit_jax.models.resnet import neuron_stem, pooled_projection
from pit_jax.neurons import ILIF, LIF, ReLU
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import KEY, count_parameters, get_shapes
from tests.models.reference import (
    conv,
    conv_norm,
    dense,
    fire,
    flatten,
    max_pool,
    mean_dense,
    pool2x2,
    repeat_steps,
    run_training_mode,
)

STEPS = 2
ONE_LINEAR = {"head": mean_head}


def narrow_stem(layers, x, width, num_steps):
    """Apply TET's stem, half as wide as the first stage."""
    return neuron_stem(layers, x, width // 2, num_steps)


@pytest.mark.parametrize(
    "num_classes, kw, want",
    [
        # With one linear layer, as in Ternary Spike and MPBN.
        (10, ONE_LINEAR, 12_569_226),
        (100, ONE_LINEAR, 12_615_396),
        (10, {"stem": narrow_stem}, 12_630_858),
        (100, {"stem": narrow_stem}, 12_653_988),
        # The common ResNet18 of CIFAR, which is not the paper's.
        (10, ONE_LINEAR | {"stages": (2, 2, 2, 2), "width": 64}, 11_173_962),
        (100, ONE_LINEAR | {"stages": (2, 2, 2, 2), "width": 64}, 11_220_132),
        # The thin ResNet20 of QCFS.
        (10, ONE_LINEAR | {"stages": (3, 3, 3), "width": 16}, 272_474),
        (100, ONE_LINEAR | {"stages": (3, 3, 3), "width": 16}, 278_324),
    ],
)
def test_published_variants_of_resnet19_have_their_parameters(num_classes, kw, want):
    assert count_parameters("resnet19", (32, 32, 3), num_classes, ReLU, **kw).total() == want


@pytest.mark.parametrize("num_classes, want", [(10, 12_697_728), (100, 12_720_768)])
def test_the_published_size_of_resnet19_has_no_biases(num_classes, want):
    kinds = count_parameters("resnet19", (32, 32, 3), num_classes, ReLU)
    assert kinds.total() - kinds["linear bias"] == want


def make_small(name, **kw):
    return create(name, num_classes=5, neuron=ILIF, num_steps=STEPS, width=4, stages=(1, 1), **kw)


def make_image(size):
    return np.random.default_rng(0).normal(size=(3, size, size, 3))


def repeat_image(size):
    """Return the image at every step."""
    return repeat_steps(make_image(size)[:, None], STEPS)


def basic_block(p, x, stride):
    y = fire(conv_norm(x, p["conv1"], p["norm1"], stride))
    y = conv_norm(y, p["conv2"], p["norm2"])
    if "shortcut" in p:
        x = conv_norm(x, p["shortcut"], p["shortcut_norm"], stride)
    return fire(y + x)


def test_resnet19_matches_tdbn_with_the_head_of_tet(x64):
    logits, p = run_training_mode(make_small("resnet19"), make_image(8))
    x = fire(conv_norm(repeat_image(8), p["stem"], p["stem_norm"]))
    assert "shortcut" not in p["stage1_block1"] and "shortcut" in p["stage2_block1"]
    x = basic_block(p["stage2_block1"], basic_block(p["stage1_block1"], x, 1), 2)
    x = fire(mean_dense(x, p["hidden"]))
    np.testing.assert_allclose(logits, dense(x, p["head"]), rtol=0, atol=1e-9)


def test_resnet34_matches_the_imagenet_resnet_with_neurons(x64):
    logits, p = run_training_mode(make_small("resnet34"), make_image(16))
    x = max_pool(fire(conv_norm(repeat_image(16), p["stem"], p["stem_norm"], 2)))
    x = basic_block(p["stage2_block1"], basic_block(p["stage1_block1"], x, 1), 2)
    np.testing.assert_allclose(logits, mean_dense(x, p["head"]), rtol=0, atol=1e-9)


def test_resnet20_without_norm_matches_diet_snn(x64):
    logits, p = run_training_mode(make_small("resnet20", dropout=0.0), make_image(8))

    def block(p, x, stride):
        y = conv(fire(conv(x, p["conv1"], stride)), p["conv2"])
        return fire(y + (conv(x, p["shortcut"], stride) if "shortcut" in p else x))

    x = repeat_image(8)
    for name in ("stem", "stem2", "stem3"):
        x = fire(conv(x, p[name]))
    x = block(p["stage2_block1"], block(p["stage1_block1"], pool2x2(x), 1), 2)
    assert p["head"].keys() == {"kernel"}
    np.testing.assert_allclose(logits, dense(flatten(x), p["head"]), rtol=0, atol=1e-9)


def test_resnet20_with_norm_matches_ternary_spike(x64):
    logits, p = run_training_mode(make_small("resnet20", norm=batch_norm), make_image(8))

    def block(p, x, stride):
        y = fire(conv_norm(x, p["conv1"], p["norm1"], stride))
        y = conv_norm(y, p["conv2"], p["norm2"])
        if "shortcut" in p:
            x = conv_norm(pool2x2(x), p["shortcut"], p["shortcut_norm"])
        return fire(y + x)

    x = repeat_image(8)
    for name in ("stem", "stem2", "stem3"):
        x = fire(conv_norm(x, p[name], p[f"{name}_norm"]))
    x = block(p["stage2_block1"], block(p["stage1_block1"], pool2x2(x), 1), 2)
    np.testing.assert_allclose(logits, mean_dense(x, p["head"]), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "name, kw, start", [("resnet20", {"norm": batch_norm}, 0), ("resnet34", {}, 1)]
)
def test_only_resnet20_with_norm_initializes_the_last_scale_of_a_block_to_0(name, kw, start):
    params = jit_once(make_small(name, **kw).init)(KEY, jnp.asarray(make_image(8)))["params"]
    for block in ("stage1_block1", "stage2_block1"):
        assert (params[block]["norm1"]["scale"] == 1).all()
        assert (params[block]["norm2"]["scale"] == start).all()
    assert (params["stage2_block1"]["shortcut_norm"]["scale"] == 1).all()


def test_resnet20_without_norm_has_only_kernels():
    _, variables = get_shapes(make_small("resnet20"), (3, 8, 8, 3))
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    assert {path[-1].key for path, _ in paths} == {"kernel"}
    assert "batch_stats" not in variables


def run_two_dropout_keys(model):
    """Return the outputs of each layer in training for two dropout keys."""
    run = jit_once(partial(model.apply, train=True, mutable=True, capture_intermediates=True))
    x = jnp.asarray(make_image(8))
    variables = jit_once(model.init)(KEY, x)
    runs = [run(variables, x, rngs={"dropout": jax.random.key(seed)})[1] for seed in (1, 2)]
    return [collect_by_layer(new["intermediates"], "__call__") for new in runs]


def test_resnet20_drops_a_fifth_of_the_spikes_at_all_steps_only_without_norm():
    positive = partial(create, "resnet20", num_classes=5, neuron=ReLU, num_steps=STEPS)
    one, other = run_two_dropout_keys(positive(width=16, stages=(1,)))
    # Two in the stem and one in the block.
    assert sum("Dropout" in name for name in one) == 3
    spikes, kept = np.asarray(one["ReLU_0"]), np.asarray(one["Dropout_0"])
    silenced = (kept == 0) & (spikes > 0)
    assert silenced.sum() / (spikes > 0).sum() == pytest.approx(0.2, abs=0.03)
    np.testing.assert_array_equal(silenced[:, 0], silenced[:, 1])
    assert (kept != np.asarray(other["Dropout_0"])).any()

    one, other = run_two_dropout_keys(positive(width=16, stages=(1,), norm=batch_norm))
    np.testing.assert_array_equal(one["head"], other["head"])


class PooledShortcut(nn.Module):
    """`pooled_projection` without norm to one channel."""

    @nn.compact
    def __call__(self, x):
        layers = Layers.bind(LIF, no_norm, dtype=None, train=False)
        return pooled_projection(layers, x, features=1, stride=2)


@pytest.mark.parametrize("size", [4, 5])
def test_a_pooled_shortcut_averages_partial_cells_at_an_odd_border(size):
    x = np.arange(2.0 * size * size, dtype=np.float32).reshape(1, 2, size, size, 1)
    params = {"shortcut": {"kernel": jnp.ones((1, 1, 1, 1))}}
    y = PooledShortcut().apply({"params": params}, jnp.asarray(x))
    corners = range(0, size, 2)
    want = [
        [[frame[i : i + 2, j : j + 2].mean() for j in corners] for i in corners] for frame in x[0]
    ]
    np.testing.assert_allclose(y[0, ..., 0], want, rtol=1e-6)
