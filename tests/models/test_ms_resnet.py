"""MS-ResNets: currents on shortcuts, initial scales, and a whole network against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.neurons import ILIF
from tests.helpers import collect_by_layer, jit_once
from tests.models.helpers import KEY, get_shapes
from tests.models.reference import conv_norm, fire, mean_dense, random_variables, run_training_mode

IMAGE = np.random.default_rng(0).normal(size=(3, 16, 16, 3))


def make_small(num_steps=2, stages=(1, 1)):
    return create(
        "ms_resnet18", num_classes=5, neuron=ILIF, num_steps=num_steps, width=4, stages=stages
    )


def test_a_network_computes_the_same_as_its_layers_in_numpy(x64):
    logits, p = run_training_mode(make_small(stages=(2, 1)), IMAGE)

    def block(p, x, stride):
        y = conv_norm(fire(x), p["conv1"], p["norm1"], stride)
        y = conv_norm(fire(y), p["conv2"], p["norm2"])
        return y + (conv_norm(x, p["shortcut"], p["shortcut_norm"], stride) if stride > 1 else x)

    x = conv_norm(np.repeat(IMAGE[:, None], 2, axis=1), p["stem"], p["stem_norm"], 2)
    for name, stride in [("stage1_block1", 2), ("stage1_block2", 1), ("stage2_block1", 2)]:
        x = block(p[name], x, stride)
    np.testing.assert_allclose(logits, mean_dense(fire(x), p["head"]), rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def initial():
    """Return the variables of `init` in training, with the outputs of all modules."""
    model = make_small(stages=(2, 1))
    run = partial(model.init_with_output, train=True, mutable=True, capture_intermediates=True)
    return jit_once(run)(KEY, jnp.asarray(IMAGE))[1]


def test_initial_norm_scales_are_one_half_and_0_at_the_end_of_a_branch(initial):
    scales = {
        "/".join(key.key for key in path[:-1]): float(value.min())
        for path, value in jax.tree.leaves_with_path(initial["params"])
        if path[-1].key == "scale" and (value == value.min()).all()
    }
    assert scales == {
        "stem_norm": 0.5,
        "stage1_block1/norm1": 0.5,
        "stage1_block1/norm2": 0.0,
        "stage1_block1/shortcut_norm": 0.5,
        "stage1_block2/norm1": 0.5,
        "stage1_block2/norm2": 0.0,
        "stage2_block1/norm1": 0.5,
        "stage2_block1/norm2": 0.0,
        "stage2_block1/shortcut_norm": 0.5,
    }


def test_a_block_without_projection_is_initially_the_identity_on_currents(initial):
    outputs = collect_by_layer(initial["intermediates"], "__call__")
    currents = np.asarray(outputs["stage1_block1"])
    assert (currents != np.round(currents)).any() and (currents < 0).any()
    np.testing.assert_array_equal(outputs["stage1_block2"], currents)


def test_every_stage_including_the_first_halves_the_resolution():
    _, variables = get_shapes(
        make_small(stages=(1, 1, 1)), (1, 64, 64, 3), capture_intermediates=True
    )
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    sizes = [outputs[name].shape[2] for name in ("stem", *(f"stage{i}_block1" for i in (1, 2, 3)))]
    assert sizes == [32, 16, 8, 4]


def test_the_stem_runs_once_per_image_with_the_same_norm_statistics(x64):
    model = make_small(num_steps=3, stages=(1,))
    _, variables = get_shapes(model, IMAGE.shape, capture_intermediates=True)
    outputs = collect_by_layer(variables["intermediates"], "__call__")
    assert outputs["stem_norm"].shape == (3, 1, 8, 8, 4)

    variables = random_variables(model, IMAGE.shape)
    apply = jit_once(partial(model.apply, train=True, mutable=["batch_stats"]))
    frames = np.repeat(IMAGE[:, None], 3, axis=1)
    for one, repeated in zip(
        jax.tree.leaves(apply(variables, IMAGE)),
        jax.tree.leaves(apply(variables, frames)),
        strict=True,
    ):
        np.testing.assert_allclose(
            one, repeated, rtol=0, atol=1e-6 if one.dtype == np.float32 else 1e-9
        )
