"""Calibration: known steps are found, errors fall, other variables stay as they are."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import FrozenDict, freeze
from flax.traverse_util import flatten_dict

from pit_jax import initializers
from pit_jax.analysis import calibrate
from pit_jax.analysis.levels import find_best_step
from pit_jax.analysis.recorder import recorder
from pit_jax.neurons import ILIF, PIT, QAT, QBLIF, PITFull
from pit_jax.neurons.scale import released
from tests.helpers import jit_once


class Net(nn.Module):
    """Two neuron layers and a head; the logits `[B, T, K]` of inputs `[B, T, C]`."""

    make: functools.partial

    @nn.compact
    def __call__(self, x, train=False):
        for channels in (5, 6):
            x = self.make()(nn.Dense(channels)(x))
        return nn.Dense(3)(x)


def begin(neuron, steps=1, **keys):
    """Return a network that starts with scales that are far too large, its variables, a batch."""
    keys = {"levels": 4, "scale_init": initializers.min_max} | keys
    model = Net(functools.partial(neuron, **keys))
    x = jax.random.normal(jax.random.key(1), (256, steps, 7))
    return model, jit_once(model.init)(jax.random.key(0), x), x


def test_normal_membranes_get_their_best_step():
    """Calibrate a single neuron: for u ~ N(0, 1) and four levels the best step is 0.535."""
    x = jax.random.normal(jax.random.key(0), (4096, 1, 3)) * jnp.array([1.0, 2.0, 0.1])
    neuron = PIT(levels=4)
    found, report = calibrate(neuron, jit_once(neuron.init)(jax.random.key(0), x), x)
    scales = np.asarray(found["params"]["a"])
    np.testing.assert_allclose(scales, [[0.535, 1.07, 0.0535]], rtol=0.06)
    assert report.before.keys() == {""} and report.after[""] < report.before[""] / 4


@pytest.mark.parametrize(
    "neuron, steps",
    [
        (PIT, 3),
        (QBLIF, 3),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((PIT, 1), (QAT, 1), (QAT, 3))),
    ],
)
def test_calibration_lowers_the_error_of_every_layer_and_changes_only_scales(neuron, steps):
    model, variables, x = begin(neuron, steps)
    found, report = calibrate(model, variables, x)
    layers = [f"{neuron.__name__}_{i}" for i in (0, 1)]
    assert list(report.before) == list(report.after) == list(report.calibrated) == layers
    assert all(report.after[name] < 0.9 * report.before[name] for name in layers)
    before, after = (flatten_dict(each, sep="/") for each in (variables, found))
    for name, leaf in before.items():
        assert after[name].shape == leaf.shape and after[name].dtype == leaf.dtype
        assert np.array_equal(after[name], leaf) != name.endswith("/a"), name
    # Once more: the scales are at their best steps already.
    _, again = calibrate(model, found, x)
    for name in layers:
        assert again.before[name] == pytest.approx(report.after[name])
        assert again.after[name] <= again.before[name] * (1 + 1e-6)


def test_later_layers_are_calibrated_to_the_new_spikes_of_earlier_ones():
    model, variables, x = begin(PIT)
    found, _ = calibrate(model, variables, x)
    # The membranes of the second layer are those that the first layer's new spikes make.
    record, scale = recorder(model), found["params"]["PIT_1"]["a"][0]
    membranes = [record(each, x)["PIT_1"].membrane[:, 0] for each in (found, variables)]
    steps = [[find_best_step(u[:, c], levels=4) for c in range(6)] for u in membranes]
    np.testing.assert_allclose(scale, steps[0], rtol=1e-5)
    assert not np.allclose(scale, steps[1], rtol=0.01)


def test_the_report_has_accuracies_with_labels_only():
    model, variables, x = begin(PIT)
    found, report = calibrate(model, variables, x)
    assert report.accuracy_before is None and "accuracy" not in str(report)
    labels = jnp.argmax(model.apply(found, x).mean(1), -1)
    _, report = calibrate(model, variables, (x, labels))
    assert report.accuracy_after == 1.0 > report.accuracy_before
    lines = str(report).splitlines()
    assert lines[1].startswith("PIT_0") and len(lines) == 4
    assert lines[-1].endswith("-> 100.00%")
    with pytest.raises(ValueError, match=r"labels must have the shape \(256,\) of the batch"):
        calibrate(model, variables, x, labels[:5])


def test_frozen_variables_stay_frozen_and_the_released_factor_is_folded():
    model, variables, x = begin(PIT, parametrize=released)
    variables["params"]["PIT_0"]["p"] *= 3
    found, report = calibrate(model, freeze(variables), x)
    assert isinstance(found, FrozenDict)
    assert report.after["PIT_0"] < report.before["PIT_0"]
    np.testing.assert_array_equal(found["params"]["PIT_0"]["p"], [[1.0]])
    plain, _ = calibrate(*begin(PIT))
    np.testing.assert_allclose(
        found["params"]["PIT_0"]["alpha"], plain["params"]["PIT_0"]["a"], rtol=1e-5
    )


def test_channels_without_positive_membranes_keep_their_scales():
    x = -jnp.abs(jax.random.normal(jax.random.key(0), (64, 2, 3))).at[:, :, 1].mul(-1)
    neuron = PIT(levels=4)
    variables = jit_once(neuron.init)(jax.random.key(0), x)
    found, _ = calibrate(neuron, variables, x)
    changed = np.asarray(found["params"]["a"] != variables["params"]["a"])
    assert changed.tolist() == [[False, True, False]] * 2


def test_networks_without_single_scales_are_refused():
    with pytest.raises(ValueError, match="PITFull_0 is a PITFull"):
        calibrate(*begin(PITFull))
    x = jnp.ones((2, 1, 7))
    model = Net(functools.partial(ILIF, levels=4))
    with pytest.raises(ValueError, match="no neuron of this network has a scale"):
        calibrate(model, jit_once(model.init)(jax.random.key(0), x), x)


@pytest.mark.parametrize("place", ["batch", "kernel", "a"])
def test_membranes_and_scales_that_are_not_finite_are_refused(place):
    x = jax.random.normal(jax.random.key(0), (8, 1, 7))
    model = Net(functools.partial(PIT, levels=4))
    variables = jit_once(model.init)(jax.random.key(0), x)
    match place:
        case "batch":
            x = x.at[0, 0, 0].set(jnp.nan)
        case "kernel":
            variables["params"]["Dense_1"]["kernel"] *= jnp.nan
        case "a":
            variables["params"]["PIT_1"]["a"] *= jnp.nan
    with pytest.raises(ValueError, match="PIT_[01] has (membranes|scales) that are not finite"):
        calibrate(model, variables, x)
