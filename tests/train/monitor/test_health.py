"""The health of neuron layers: each measure, its warning, and that it does not change training."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pit_jax.initializers import SCALE_FLOOR
from pit_jax.neurons import NEURONS
from pit_jax.neurons.probe import neuron_probes
from tests.train.helpers import (
    get_bits,
    load_newest_state,
    load_records,
    make_program_on,
    stop_after,
    take_devices,
)
from tests.train.tiny import EPOCHS, STEPS_PER_EPOCH, get_config
from train.data import ArraySplit, DiskSplit
from train.loop import train
from train.monitor.health import FILE, MEASURES, Health
from train.program.probe import (
    MOST_COUNTS,
    compare_counts,
    distance,
    measure_layer,
    sample_counts,
    take_evenly,
)

STEPS = EPOCHS * STEPS_PER_EPOCH
PIT_LAYER = "stage1_block1/PIT_0"


def make_layer(count, levels=4, **others):
    """Return a layer with two samples, one step and three channels, as `record` sows it."""
    count = jnp.asarray(count, jnp.float32).reshape(2, 1, 3)
    rate = jnp.abs(count).mean(axis=2) / levels
    return {"count": count, "levels": jnp.float32(levels), "rate": rate, **others}


def test_silent_and_saturated_channels_are_counted():
    found = measure_layer(make_layer([[0, 4, 1], [0, 4, 4]]))
    assert found["silent"] == pytest.approx(1 / 3)
    assert found["saturated"] == pytest.approx(1 / 3)
    assert found["rate"] == pytest.approx(13 / 24)


def test_negative_spikes_count_as_spikes():
    found = measure_layer(make_layer([[-1, 0, 1], [1, 0, 0]], levels=1))
    assert found["silent"] == found["saturated"] == pytest.approx(1 / 3)


def test_scales_at_their_floor_are_counted():
    scale = jnp.array([[SCALE_FLOOR, 0.5, SCALE_FLOOR], [0.002, 0.5, 1.0]])
    assert measure_layer(make_layer(np.ones(6), scale=scale))["floor"] == pytest.approx(2 / 6)
    assert {"floor", "distance"}.isdisjoint(measure_layer(make_layer(np.ones(6))))


def test_the_distance_of_a_layer_is_the_mean_over_its_membranes():
    # From 1/2: 1/2 and more, 0.1, 0.5; from 3/2: 0.25; from 7/2, the last boundary: 0.4 and 1/2.
    rounded = jnp.array([[-3.0, 0.4, 1.0], [1.25, 3.9, 9.0]]).reshape(2, 1, 3)
    want = (0.5 + 0.1 + 0.5 + 0.25 + 0.4 + 0.5) / 6
    assert measure_layer(make_layer(np.ones(6), rounded=rounded))["distance"] == pytest.approx(want)


@given(
    st.lists(st.floats(-20, 20, width=32), min_size=16, max_size=16),
    st.integers(1, 12),
)
def test_the_distance_is_to_the_nearest_boundary(x, levels):
    x = np.array(x, np.float32)
    each = np.abs(x[:, None].astype(np.float64) - (np.arange(levels) + 0.5))
    want = np.minimum(each.min(axis=1), 0.5)
    np.testing.assert_allclose(distance(jnp.asarray(x), levels), want, rtol=0, atol=1e-6)


def test_a_count_oscillates_when_it_changes_back():
    before, between = np.array([1, 1, 3, 2, 0]), np.array([2, 2, 1, 2, 0])
    after = np.array([1, 3, 4, 1, 0])
    found = compare_counts(before, between, after)
    assert found == {"flips": 4 / 5, "oscillating": 2 / 5}


def test_fewer_states_have_fewer_measures():
    one, other = np.array([1, 2]), np.array([1, 3])
    assert compare_counts(one, other) == {"flips": 0.5}
    assert compare_counts(one) == {}


def test_the_same_sample_of_many_counts_is_compared_each_time():
    count = jnp.arange(3 * MOST_COUNTS) % 5.0
    few = np.asarray(sample_counts(count))
    assert few.shape == (MOST_COUNTS,) and few.dtype == np.int16
    np.testing.assert_array_equal(few, sample_counts(count))
    assert np.bincount(few) / MOST_COUNTS == pytest.approx([0.2] * 5, abs=0.015)
    np.testing.assert_array_equal(sample_counts(jnp.array([[1.0, 2.0], [3.0, 0.0]])), [1, 2, 3, 0])


def test_probe_samples_are_evenly_spaced_in_the_split():
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    split = ArraySplit(images, np.zeros(10, np.int32))
    assert take_evenly(split, 4)[0].ravel().tolist() == [0, 2, 5, 7]
    assert take_evenly(split, 64)[0].ravel().tolist() == list(range(10))
    streamed = DiskSplit((10,), (1, 1, 1), lambda i, rng: (images[i], 0), 0, lambda: None)
    np.testing.assert_array_equal(take_evenly(streamed, 4)[0], take_evenly(split, 4)[0])


def test_a_sample_on_disk_has_the_same_crop_each_time():
    cut = DiskSplit((9,), (1,), lambda i, rng: (rng.integers(256, size=1), 0), 0, lambda: None)
    np.testing.assert_array_equal(take_evenly(cut, 5)[0], take_evenly(cut, 5)[0])


def make_config(**changed):
    config = get_config()
    config.update(changed)
    return config


@pytest.fixture(scope="module")
def program():
    """Return the program of the tiny config; its step is compiled once for all tests."""
    return make_program_on(1, make_config())


@pytest.fixture(scope="module")
def uninterrupted(program, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(make_config(), workdir, program=program)
    return workdir


def change_scale(state, change):
    """Return `state` with the scale `a` of one layer changed."""
    block = state.params["stage1_block1"]
    a = change(block["PIT_0"]["a"])
    block = block | {"PIT_0": block["PIT_0"] | {"a": a}}
    return state.replace(params=state.params | {"stage1_block1": block})


def test_huge_scales_are_silent_and_tiny_scales_at_the_floor(program):
    state = program.first_state()
    before = program.probe(state).measures[PIT_LAYER]
    assert before["silent"] == before["saturated"] == before["floor"] == 0 < before["rate"]
    huge = change_scale(state, lambda a: a.at[:, 0].set(1e6))
    found = program.probe(huge).measures[PIT_LAYER]
    assert found["silent"] == 1 / 4 and found["floor"] == 0
    # Channel 1 is at the floor at all steps; another scale is below the floor, which clips it.
    least = change_scale(state, lambda a: a.at[:, 1].set(SCALE_FLOOR).at[0, 2].set(-5.0))
    found = program.probe(least).measures[PIT_LAYER]
    assert found["floor"] == 3 / 8 and found["rate"] > before["rate"]


def test_a_channel_with_large_input_is_saturated(program):
    state = program.first_state()
    block = state.params["stage1_block1"]
    name = next(name for name in block if name.startswith("norm"))
    norm = block[name] | {"bias": block[name]["bias"].at[3].set(1e6)}
    params = state.params | {"stage1_block1": block | {name: norm}}
    found = program.probe(state.replace(params=params)).measures
    assert sum(float(layer["saturated"]) == 1 / 4 for layer in found.values()) == 1


def test_the_probe_uses_the_weights_and_not_their_averages(program):
    state = program.first_state()
    other = state.replace(averaged=jax.tree.map(jnp.zeros_like, state.variables))
    assert get_bits(program.probe(state)) == get_bits(program.probe(other))


@pytest.mark.parametrize("name", sorted(set(NEURONS) - {"ReLU"}))
def test_a_layer_has_the_measures_of_its_neuron(name):
    def look(x):
        _, variables = NEURONS[name]().init_with_output(jax.random.key(0), x, mutable=True)
        (layer,) = neuron_probes(variables["intermediates"]).values()
        return measure_layer(layer)

    found = set(jax.eval_shape(look, jnp.zeros((2, 3, 5, 4))))
    want = {"rate", "silent", "saturated"}
    want |= {"floor"} if name in ("PIT", "PITFull", "QAT", "QBLIF") else set()
    want |= {"distance"} if name in ("PIT", "PITFull", "QAT", "QBLIF", "ILIF") else set()
    assert found == want


def test_each_device_probes_without_communication(monkeypatch):
    # JAX takes compiler options only for the outer of two jitted functions.
    monkeypatch.setenv("PIT_JAX_TUNING", "off")
    four = make_program_on(4, make_config())
    state = four.first_state()
    text = jax.jit(four.probe).lower(state).compile().as_text()
    assert "convolution" in text and "all-" not in text and "collective" not in text


def test_a_second_probe_copies_nothing_between_host_and_device(program):
    state = program.first_state()
    program.probe(state)
    with jax.transfer_guard("disallow_explicit"):
        program.probe(state)


def test_the_record_of_an_epoch_has_the_measures_of_every_layer(program, uninterrupted):
    lines = load_records(uninterrupted)
    assert [line["step"] for line in lines] == [STEPS_PER_EPOCH, STEPS]
    for line in lines:
        assert list(line["health"]) == program.neuron_layers
        for layer in line["health"].values():
            assert tuple(layer) == MEASURES
            assert all(0 <= value <= 1 for value in layer.values())
            assert layer["flips"] > layer["oscillating"] and layer["distance"] > 0
    assert any(layer["oscillating"] > 0 for layer in lines[0]["health"].values())


def test_measures_agree_with_states_stepped_by_hand(program, uninterrupted):
    """Compute the measures as the documentation defines them, and compare."""
    state, step, counts = program.first_state(), program.compile_step(), []
    batches = program.batches(0)
    for _ in range(STEPS_PER_EPOCH):
        counts.append(jax.device_get(program.probe(state).counts))
        state, _ = step(state, next(batches))
    last = jax.device_get(program.probe(state))
    for layer, found in load_records(uninterrupted)[0]["health"].items():
        a, b, c = (each[layer] for each in (*counts[-2:], last.counts))
        back = ((b > a) & (c < b)) | ((b < a) & (c > b))
        assert found["flips"] == pytest.approx((b != c).mean(), rel=1e-3)
        assert found["oscillating"] == pytest.approx(back.mean(), rel=1e-3)
        for name, value in last.measures[layer].items():
            assert found[name] == pytest.approx(value, rel=1e-3)


def test_health_does_not_change_training(program, uninterrupted, tmp_path, compiled):
    train(make_config(health={"images": 64, "every_epochs": 0}), tmp_path, devices=take_devices(1))
    assert "jit(look)" not in compiled and "jit(step)" in compiled
    assert get_bits(load_newest_state(tmp_path, program)) == get_bits(
        load_newest_state(uninterrupted, program)
    )
    seen = [
        {k: v for k, v in line.items() if k != "health"} for line in load_records(uninterrupted)
    ]
    assert load_records(tmp_path) == seen != load_records(uninterrupted)


@pytest.mark.parametrize(
    "steps", [*(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 4)), 2, 5]
)
def test_an_interrupted_run_records_the_same_health(uninterrupted, program, tmp_path, steps):
    assert train(make_config(), tmp_path, stop=stop_after(steps), program=program) is None
    # Only before the last step of an epoch are there counts that cannot be computed later.
    assert (tmp_path / FILE).exists() == (steps in (2, 5))
    train(make_config(), tmp_path, program=program)
    assert load_records(tmp_path) == load_records(uninterrupted)


def test_a_run_killed_at_the_end_of_an_epoch_records_the_same_health(
    uninterrupted, program, tmp_path
):
    """Then the newest checkpoint is of the step before."""
    config = make_config()
    config.checkpoints.every_steps = 1
    assert train(config, tmp_path, stop=stop_after(3), program=program) is None
    for folder in ("last", "best"):
        shutil.rmtree(tmp_path / folder / "3")
    train(config, tmp_path, program=program)
    assert load_records(tmp_path) == load_records(uninterrupted)


@pytest.mark.parametrize(
    "harm", ["lose", *(pytest.param(harm, marks=pytest.mark.slow) for harm in ("shorten", "flip"))]
)
def test_a_lost_or_damaged_health_file_is_restored_from_the_checkpoint(
    uninterrupted, program, tmp_path, harm, capsys
):
    train(make_config(), tmp_path, stop=stop_after(2), program=program)
    content = bytearray((tmp_path / FILE).read_bytes())
    (tmp_path / FILE).unlink()
    if harm == "shorten":
        (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    if harm == "flip":
        content[len(content) // 2] ^= 1
        (tmp_path / FILE).write_bytes(content)
    train(make_config(), tmp_path, program=program)
    assert load_records(tmp_path) == load_records(uninterrupted)
    assert f"{tmp_path / FILE} is " in capsys.readouterr().err


@pytest.mark.slow
def test_epochs_of_one_step_have_flips_only(tmp_path):
    config = make_config(batch_size=100, health={"images": 8, "every_epochs": 2})
    train(config, tmp_path, devices=take_devices(1))
    first, second = load_records(tmp_path)
    assert "health" not in first
    layer = second["health"][PIT_LAYER]
    assert layer["oscillating"] is None and 0 < layer["flips"] < 1


def test_a_network_without_spikes_has_no_health(tmp_path):
    config = make_config()
    config.neuron = {"name": "ReLU"}
    program = make_program_on(1, config)
    assert program.neuron_layers == []
    # Neither looks at the state.
    health = Health(program, tmp_path, every_epochs=1, begun=0, note=pytest.fail)
    health.before(None, STEPS_PER_EPOCH)
    assert health.end(None, 1) == {}
