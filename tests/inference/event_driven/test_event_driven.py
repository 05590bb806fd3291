"""The event-driven runtime returns a program's logits bit for bit, however its layers run."""

import json
import runpy
import sys
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import pit_jax.inference.event_driven as package
from pit_jax.inference import NotFoldable, compile
from pit_jax.inference.event_driven import (
    all_dense,
    all_event_driven,
    interpreter,
    jit,
    look_up_crossover,
)
from pit_jax.inference.event_driven.crossover import load_crossover
from pit_jax.inference.event_driven.measure import find_crossover
from tests.inference.checks import assert_runtime_equals_program
from tests.inference.networks import NEURONS, make_firing_network
from tests.inference.random_networks import make_small_network
from tests.models.reduced import DISTINCT


def run_and_get_choices(program, x, crossover):
    runtime = program.event_driven(crossover, threads=1)
    runtime(np.asarray(x))
    return runtime.choices


@pytest.mark.slow
@pytest.mark.parametrize("neuron", sorted(NEURONS))
@pytest.mark.parametrize("name", DISTINCT)
def test_the_runtime_on_every_pair_of_network_and_neuron(name, neuron):
    # Steps and levels alternate between 1, 2 and 4 from one pair to the next.
    turn = DISTINCT.index(name) + sorted(NEURONS).index(neuron)
    num_steps, levels = (1, 2, 4)[turn % 3], (4, 1, 2)[turn // 3 % 3]
    model, variables, x = make_firing_network(
        name, NEURONS[neuron](levels), num_steps, seed=turn, batch=3
    )
    try:
        program = compile(model, variables, x, verify=False)
    except NotFoldable:
        pytest.skip("it has no exact program; test_program lists which are refused")
    assert_runtime_equals_program(program, x)


@pytest.fixture(scope="module")
def small_program():
    layers = (4, 3, 1, 1, ""), (4, 3, 1, 1, "")
    model, variables, x = make_small_network(NEURONS["PIT"](2), 2, *layers)
    return compile(model, variables, x, verify=False), np.asarray(x)


def test_each_step_reads_its_frame(small_program):
    program, x = small_program
    frames = np.stack([x, -x], axis=1)
    assert np.array_equal(program.event_driven()(frames), program(frames))


def test_the_batch_size_may_change_between_calls(small_program):
    program, x = small_program
    runtime, want = program.event_driven(), np.asarray(program(x))
    for samples in (3, 1, 0, 8, 3):
        assert np.array_equal(runtime(x[:samples]), want[:samples])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_divide_a_batch(small_program, threads):
    program, x = small_program
    many = np.concatenate([x, -x, 2 * x])[:23]
    assert np.array_equal(program.event_driven(threads=threads)(many), program(many))


def test_arrays_of_numpy_and_jax_need_one_compilation(small_program):
    program, x = small_program
    runtime = program.event_driven()
    for given in (x, jnp.asarray(x), x[::-1], np.asfortranarray(x)):
        assert np.array_equal(runtime(given), program(given))
        runtime.stream()(runtime.stream().start(), given)
    assert len(interpreter.run.signatures) == 1


@pytest.mark.filterwarnings("ignore:.* and were clipped:UserWarning")
def test_inputs_are_clipped_as_in_the_program(small_program):
    program, x = small_program
    far = np.concatenate([1000 * x[:2], np.full_like(x[:1], np.inf)])
    assert program.count_clipped(far) and np.array_equal(program.event_driven()(far), program(far))


@pytest.mark.filterwarnings("ignore:.* and were clipped:UserWarning")
def test_nan_counts_as_0_in_every_runtime(small_program):
    program, x = small_program
    gaps = np.where(np.arange(x.size).reshape(x.shape) % 5 == 0, np.nan, x)
    want = np.asarray(program(np.nan_to_num(gaps)))
    assert program.count_clipped(gaps) == np.isnan(gaps).sum()
    assert np.array_equal(program(gaps), want) and np.array_equal(program.grid(gaps), want)
    assert np.array_equal(program.event_driven()(gaps), want)


def test_a_line_is_printed_while_the_engine_compiles(capsys, monkeypatch):
    monkeypatch.setattr(jit, "PATIENCE", 0.01)
    engine = SimpleNamespace(signatures=[])
    with jit.report_compilation(engine):
        time.sleep(0.1)
    printed = capsys.readouterr().err.splitlines()
    assert printed == [
        "compiling the event-driven engine, once on this machine …",
        "compiled in 0 s",
    ]
    engine.signatures.append("compiled")
    with jit.report_compilation(engine):
        time.sleep(0.02)
    monkeypatch.setattr(jit, "PATIENCE", 60)
    with jit.report_compilation(SimpleNamespace(signatures=[])):
        pass  # Loaded from the cache.
    assert capsys.readouterr().err == ""


def test_zero_threads_are_refused(small_program):
    with pytest.raises(ValueError, match="threads must be 1 or more.* got 0"):
        small_program[0].event_driven(threads=0)


def test_a_stream_accepts_an_empty_batch(small_program):
    program, x = small_program
    stream = program.event_driven().stream()
    state, logits = stream(stream.start(), x[:0])
    assert logits.shape == (0, program(x).shape[1]) and state.steps == 1


def test_an_input_of_the_wrong_shape_is_refused(small_program):
    program, x = small_program
    with pytest.raises(
        ValueError, match=r"takes images \[B, 8, 8, 3\] or frames \[B, 2, 8, 8, 3\]"
    ):
        program.event_driven()(x[:, :4])


@pytest.mark.parametrize("entry", ["0.5", 1j, object()])
def test_an_input_of_texts_or_complex_numbers_is_refused(small_program, entry):
    with pytest.raises(ValueError, match="^the input must be an array of real numbers, got "):
        small_program[0].event_driven()(np.full((2, 8, 8, 3), entry))


def test_a_constant_crossover_holds_for_all_layers(small_program):
    assert all(choice.dense == 2 for choice in run_and_get_choices(*small_program, all_dense))
    assert not any(choice.dense for choice in run_and_get_choices(*small_program, all_event_driven))


def test_a_runtime_reports_how_each_layer_ran(small_program):
    program, x = small_program
    runtime = program.event_driven(
        lambda layer, batch: -1.0 if layer.path == "Conv_1" else 1.0, threads=2
    )
    assert "not run yet" in str(runtime)
    runtime(x)
    ran = {choice.layer.path: choice for choice in runtime.choices}
    # Two steps in two threads.
    assert ran["Conv_1"].dense == 4 and not ran["Conv_0"].dense
    counts = program.counts(x)["PIT_0"]
    assert ran["Conv_1"].rate == pytest.approx(float((counts != 0).mean()))
    assert "dense, 4 of 4" in str(runtime)


def test_a_layer_has_the_crossover_of_the_nearest_measured_layer(tmp_path, small_program):
    program, _ = small_program
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
def test_a_crossover_is_interpolated_between_measured_rates(ratios, rate):
    assert find_crossover((0.05, 0.1, 0.4), ratios) == pytest.approx(rate, rel=1e-3)


def test_without_numba_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[event-driven\]'"):
        runpy.run_path(package.__file__)
