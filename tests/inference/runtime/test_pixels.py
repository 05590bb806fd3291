"""Inputs of programs: uint8 pixels are normalized, floats are taken as normalized."""

import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.artifact import MANIFEST
from pit_jax.inference import compile, load
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.pixels import InputReader, Normalization, read_normalization
from pit_jax.inference.runtime.step import quantize_pixels
from tests.inference.networks import NEURONS
from tests.inference.random_networks import make_small_network

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
# Every byte once in each channel.
BYTES = np.stack([np.random.default_rng(c).permutation(256) for c in range(3)], axis=-1)
BYTES = BYTES.reshape(4, 8, 8, 3).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    """Return a network of two layers and two steps, its variables, and normalized images."""
    model, variables, _ = make_small_network(NEURONS["PIT"](2), 2, (4, 3, 1, 1, ""))
    return model, variables, Normalization(MEAN, STD).normalize(BYTES)


@pytest.fixture(scope="module")
def program(network):
    model, variables, _ = network
    return compile(model, variables, BYTES, mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def without(network):
    """Return the program of a network whose normalization is not known."""
    model, variables, x = network
    return compile(model, variables, x, verify=False)


def test_bytes_are_normalized_by_a_table_in_float32(network):
    one, two_five_five = np.float32(1), np.float32(255)
    values = Normalization(MEAN, STD).compute_values(3)
    for c in range(3):
        for byte in (0, 1, 77, 128, 254, 255):
            x = np.float32(byte) * one / two_five_five
            assert values[byte, c] == (x - np.float32(MEAN[c])) / np.float32(STD[c])
    assert values.dtype == np.float32
    assert np.array_equal(network[2], values[BYTES, np.arange(3)])
    on_device = Normalization(MEAN, STD).normalize(jnp.asarray(BYTES))
    assert np.array_equal(on_device, network[2])


@pytest.mark.parametrize("unit", [2.0**-14, 2.0**-6, 0.25])
def test_the_integers_of_bytes_equal_those_of_the_grid(unit):
    rng = np.random.default_rng(0)
    for _ in range(20):
        node = nodes.Pixels(unit, int(rng.integers(1, 2**15)), (1, 1, 3))
        known = Normalization(tuple(rng.uniform(0, 1, 3)), tuple(rng.uniform(0.05, 1, 3)))
        reader = InputReader(node, known)
        grid = quantize_pixels(node, jnp.asarray(known.compute_values(3))[:, None, None])
        assert np.array_equal(reader.compute_integers(), grid[:, 0, 0])


def test_raw_and_normalized_pixels_give_the_same_logits_in_every_runtime(program, network):
    x, want = network[2], np.asarray(program.grid(network[2]))
    assert want.any()
    for images in (BYTES, x, x.astype(np.float64), jnp.asarray(BYTES)):
        assert np.array_equal(program(images), want) and np.array_equal(program.grid(images), want)
        assert np.array_equal(program.event_driven(threads=1)(images), want)
    for runtime in (program, program.event_driven(threads=1)):
        stream = runtime.stream()
        state, _ = stream(stream.start(), BYTES)
        assert np.array_equal(stream(state, x)[1], want)
    frames = np.stack([BYTES, 255 - BYTES], axis=1)
    assert np.array_equal(program(frames), program.grid(program.normalize(frames)))
    for path, counts in program.counts(BYTES).items():
        assert np.array_equal(counts, program.trace(x)[path].sum(axis=2))


def test_a_sample_of_raw_pixels_gives_the_same_program(program, network):
    model, variables, x = network
    other = compile(model, variables, x[:1], mean=np.array(MEAN), std=list(STD), verify=False)
    assert other.fingerprint == program.fingerprint
    assert other.normalization == program.normalization == Normalization(MEAN, STD)
    # Every pixel is within the largest input, whatever the sample.
    assert program.proof.clipped == 0 and program.count_clipped(BYTES) == 0
    assert program.nodes[0].bound * program.nodes[0].unit >= abs(x).max()


def test_verify_and_costs_take_raw_pixels(program, network):
    x, labels = network[2], np.zeros(4, np.int32)
    assert program.verify([BYTES, BYTES], [labels, labels]) == program.verify([x, x], [labels] * 2)
    assert program.costs(BYTES) == program.costs(x)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint16", "bool"])
def test_other_integers_are_refused_with_what_to_do(program, without, dtype):
    x, stream = BYTES.astype(dtype), program.stream()
    wanted = rf"must be uint8 pixels or floats .*, got {dtype}\. Convert pixels with astype\("
    for call in (program, program.grid, program.trace, program.verify, program.count_clipped):
        with pytest.raises(ValueError, match=f"^the input {wanted}"):
            call(x)
    for call in (without, program.event_driven()):
        with pytest.raises(ValueError, match=f"^the input {wanted}"):
            call(x)
    with pytest.raises(ValueError, match=f"^a frame {wanted}"):
        stream(stream.start(), x)


def test_bytes_are_refused_where_their_normalization_is_not_known(without, network):
    for call in (without, without.grid, without.event_driven(), without.verify):
        with pytest.raises(ValueError, match="the input is uint8, and .* without mean and std"):
            call(BYTES)
    with pytest.raises(ValueError, match="^sample_batch is uint8, .* with mean and std"):
        compile(network[0], network[1], BYTES)


def test_counts_of_events_enter_unchanged(network):
    model, variables, _ = network
    frames = (np.random.default_rng(0).poisson(0.5, (2, 2, 8, 8, 3))).astype(np.uint8)
    program = compile(model, variables, frames, mean=(), std=())
    assert program.normalization == Normalization()
    assert np.array_equal(program(frames), program.grid(frames.astype(np.float32)))
    assert np.array_equal(program.normalize(frames), frames)


@pytest.mark.parametrize(
    "mean, std",
    [
        (MEAN, None),
        (None, STD),
        (MEAN[:2], STD),
        (0.5, 0.5),
        ((), STD),
        (MEAN, (0.2, 0.2, 0.0)),
        (MEAN, (0.2, 0.2, -0.2)),
        (MEAN, (1e-50, 0.2, 0.2)),
        ((0.5, 0.5, np.nan), STD),
        (("a", "b", "c"), STD),
        ((10**400, 0, 0), STD),
    ],
)
def test_a_normalization_that_does_not_fit_is_refused(network, mean, std):
    wanted = "^mean and std must each have one finite number for each of 3 channels"
    with pytest.raises(ValueError, match=wanted):
        compile(*network, mean=mean, std=std)


def test_numbers_of_one_channel_need_no_tuple():
    assert read_normalization(0.5, np.float32(0.25), 1) == Normalization((0.5,), (0.25,))


def test_a_call_that_clips_over_one_percent_of_its_values_warns(program, without, network):
    raw = BYTES.astype(np.float32)
    wanted = r"^\d\d\.\d% of the input values are beyond [\d.]+, the largest input of the program"
    streams = [runtime.stream() for runtime in (program, program.event_driven())]
    calls = [program, program.grid, program.trace, program.counts, program.event_driven(), without]
    for call in [*calls, *(lambda x, s=s: s(s.start(), x) for s in streams)]:
        with pytest.warns(UserWarning, match=wanted):
            call(raw)
    few = np.array(network[2])
    few.flat[: few.size // 100] = 1000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert program.count_clipped(few) == few.size // 100
        program(few), program(BYTES), program(few[:0])


def test_a_jitted_caller_gives_any_pixels_without_warnings(network, program, all_optimizations):
    model, variables, x = network
    inner = compile(model, variables, x, mean=MEAN, std=STD, verify=False)
    outer = jax.jit(inner.grid)
    assert np.array_equal(outer(BYTES), program.grid(BYTES))
    outer(BYTES.astype(np.float32))  # The values are unknown while JAX traces.


def test_bytes_beyond_the_largest_input_are_counted(network):
    model, variables, x = network
    program = compile(model, variables, x, mean=MEAN, std=STD, largest_input=1.0, verify=False)
    assert program.count_clipped(BYTES) == program.count_clipped(x) == int((abs(x) > 1).sum()) > 0
    with pytest.warns(UserWarning, match="were clipped"):
        program(BYTES)


def test_the_normalization_is_saved_with_the_program(program, without, tmp_path):
    program.save(tmp_path / "known")
    loaded = load(tmp_path / "known")
    assert loaded.normalization == program.normalization
    assert np.array_equal(loaded(BYTES), program.grid(BYTES))
    manifest = json.loads((tmp_path / "known" / MANIFEST).read_text())
    assert manifest["normalization"]["mean"] == [*MEAN]
    without.save(tmp_path / "unknown")
    with pytest.raises(ValueError, match="the input is uint8"):
        load(tmp_path / "unknown")(BYTES)
