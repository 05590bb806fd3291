"""The event-driven runtime gives a program's logits to the last bit, however its layers run."""

import json
import runpy
import sys

import numpy as np
import pytest

import pit_jax.inference.event_driven as package
from pit_jax.inference import NotFoldable, compile
from pit_jax.inference.event_driven import all_dense, all_event_driven, look_up_crossover
from pit_jax.inference.event_driven.crossover import load_crossover
from pit_jax.inference.event_driven.measure import find_crossover
from tests.inference.networks import NEURONS, make_firing_network
from tests.inference.test_program import SAMPLE
from tests.models.reduced import DISTINCT


def assert_equal(program, x):
    x = np.asarray(x)
    want = np.asarray(program.grid(x))
    for crossover in (all_event_driven, all_dense, look_up_crossover):
        runtime = program.event_driven(crossover)
        assert np.array_equal(runtime(x), want)
        # What one call leaves does not reach the next.
        assert np.array_equal(runtime(x), want)


def choices(program, x, crossover):
    runtime = program.event_driven(crossover, threads=1)
    runtime(np.asarray(x))
    return runtime.choices


# One for each rule that the compiled loops have; all of them in all networks are slow.
RULES = {"PIT", "GLIF", "PITFull", "CLIF", "Ternary", "ILIF"}


@pytest.mark.parametrize(
    ("name", "neuron", "num_steps", "levels"), [row for row in SAMPLE if row[1] in RULES]
)
def test_the_runtime_is_the_program(name, neuron, num_steps, levels):
    model, variables, x = make_firing_network(name, NEURONS[neuron](levels), num_steps, batch=3)
    assert_equal(compile(model, variables, x, verify=False), x)


@pytest.mark.slow
@pytest.mark.parametrize("neuron", sorted(NEURONS))
@pytest.mark.parametrize("name", DISTINCT)
def test_every_pair_of_network_and_neuron(name, neuron):
    """The steps and levels go through 1, 2 and 4 from one pair to the next."""
    turn = DISTINCT.index(name) + sorted(NEURONS).index(neuron)
    num_steps, levels = (1, 2, 4)[turn % 3], (4, 1, 2)[turn // 3 % 3]
    model, variables, x = make_firing_network(
        name, NEURONS[neuron](levels), num_steps, seed=turn, batch=3
    )
    try:
        program = compile(model, variables, x, verify=False)
    except NotFoldable:
        pytest.skip("no program says it exactly; test_program says which these are")
    assert_equal(program, x)


@pytest.fixture(scope="module")
def small():
    model, variables, x = make_firing_network("resnet8", NEURONS["PIT"](2), 2)
    return compile(model, variables, x, verify=False), np.asarray(x)


@pytest.mark.parametrize("weights", ["int8", "int16"])
def test_weights_of_few_bits_run_too(weights):
    model, variables, x = make_firing_network("resnet8", NEURONS["PIT"](4), 1, width=16)
    assert_equal(compile(model, variables, x, verify=False, weights=weights), x)


def test_each_step_reads_its_frame(small):
    program, x = small
    frames = np.stack([x, -x], axis=1)
    assert np.array_equal(program.event_driven()(frames), program(frames))


def test_a_batch_may_have_any_size_and_may_change_it(small):
    program, x = small
    runtime, want = program.event_driven(), np.asarray(program(x))
    for samples in (3, 1, 0, 8, 3):
        assert np.array_equal(runtime(x[:samples]), want[:samples])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_may_be_divided_among_threads(small, threads):
    program, x = small
    many = np.concatenate([x, -x, 2 * x])[:23]
    assert np.array_equal(program.event_driven(threads=threads)(many), program(many))


def test_inputs_beyond_the_largest_are_cut_off_alike(small):
    program, x = small
    far = np.concatenate([1000 * x[:2], np.full_like(x[:1], np.inf)])
    assert program.count_clipped(far) and np.array_equal(program.event_driven()(far), program(far))


def test_what_is_no_number_counts_as_0_in_every_runtime(small):
    program, x = small
    gaps = np.where(np.arange(x.size).reshape(x.shape) % 5 == 0, np.nan, x)
    want = np.asarray(program(np.nan_to_num(gaps)))
    assert program.count_clipped(gaps) == np.isnan(gaps).sum()
    assert np.array_equal(program(gaps), want) and np.array_equal(program.grid(gaps), want)
    assert np.array_equal(program.event_driven()(gaps), want)


def test_there_is_a_thread_at_least(small):
    with pytest.raises(ValueError, match="threads must be 1 or more.* got 0"):
        small[0].event_driven(threads=0)


def test_a_stream_takes_a_frame_without_samples(small):
    program, x = small
    stream = program.event_driven().stream()
    state, logits = stream(stream.start(), x[:0])
    assert logits.shape == (0, program(x).shape[1]) and state.steps == 1


def test_an_input_of_another_shape_is_refused(small):
    program, x = small
    with pytest.raises(
        ValueError, match=r"takes images \[B, 8, 8, 3\] or frames \[B, 2, 8, 8, 3\]"
    ):
        program.event_driven()(x[:, :4])


def test_all_layers_run_as_they_are_told(small):
    assert all(choice.dense == 2 for choice in choices(*small, all_dense))
    assert not any(choice.dense for choice in choices(*small, all_event_driven))


def test_a_runtime_says_how_each_layer_ran(small):
    program, x = small
    runtime = program.event_driven(
        lambda layer, batch: 0.0 if "conv1" in layer.path else 1.0, threads=2
    )
    assert "not run yet" in str(runtime)
    runtime(x)
    ran = {choice.layer.path: choice for choice in runtime.choices}
    # Two steps in two threads.
    assert ran["stage1_block1/conv1"].dense == 4 and not ran["stage1_block1/conv2"].dense
    counts = program.counts(x)["stage1_block1/PIT_0"]
    assert ran["stage1_block1/conv1"].rate == pytest.approx(float((counts != 0).mean()))
    assert "dense, 4 of 4" in str(runtime)


def test_a_layer_has_the_crossover_of_the_nearest_that_was_measured(tmp_path, small):
    program, _ = small
    layer = program.event_driven()._tape.layers[1]
    assert layer.kind == "conv" and layer.size == (4, 4, 64, 9)
    file = tmp_path / "table.json"
    rows = [
        {"kind": "conv", "size": [8, 8, 64, 9], "batch": 1, "rate": 0.1},
        {"kind": "conv", "size": [64, 64, 64, 9], "batch": 1, "rate": 0.2},
        {"kind": "conv", "size": [4, 4, 64, 9], "batch": 16, "rate": 0.3},
        {"kind": "depthwise", "size": [4, 4, 64, 9], "batch": 1, "rate": 0.4},
    ]
    file.write_text(json.dumps({"layers": rows}))
    assert load_crossover(file)(layer, 1) == 0.1
    assert load_crossover(file)(layer, 16) == 0.3
    assert 0 <= look_up_crossover(layer, 1) <= 1


@pytest.mark.parametrize(
    "ratios, rate",
    [
        ([0.5, 0.1, 0.1], 0),
        ([8.0, 4.0, 2.0], 1),
        ([2.0, 2.0, 0.5], 0.2),
        ([4.0, 0.25, 0.1], 0.0707),
    ],
)
def test_a_crossover_lies_between_the_rates_measured(ratios, rate):
    assert find_crossover((0.05, 0.1, 0.4), ratios) == pytest.approx(rate, rel=1e-3)


def test_without_numba_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[event-driven\]'"):
        runpy.run_path(package.__file__)
