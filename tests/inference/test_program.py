"""A program's binary spikes equal the counts of its grid, and nearly the trained network's."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax import neurons
from pit_jax.inference import NotFoldable, SpikingProgram, compile, load
from pit_jax.inference import program as program_module
from pit_jax.inference.runtime import nodes
from pit_jax.inference.verify import fingerprint
from pit_jax.neurons.step import hard_reset, soft_reset
from tests.helpers import jit_once
from tests.inference.checks import assert_runtime_equals_program
from tests.inference.networks import NEURONS, make_constant_network, make_firing_network
from tests.inference.random_networks import make_small_network
from tests.models.reduced import DISTINCT

# Most neurons once, in most families of networks; the full product is slow.
# `test_all_other_neurons_in_one_network_of_int8_weights` has the other neurons.
SAMPLE = [
    ("resnet8", "PIT", 2, 4),
    ("sew_resnet18", "PIT", 2, 2),
    ("ms_resnet18", "GLIF", 2, 1),
    ("vgg11", "PITFull", 2, 2),
    ("cifarnet", "CLIF", 2, 1),
    ("plifnet", "Ternary", 2, 1),
    ("spike_driven_transformer", "ILIF", 1, 2),
    ("e_spikeformer_t", "ILIF", 1, 4),
]
MULTI_LEVEL = {"ILIF", "PIT", "PITFull", "QAT", "QBLIF"}
# Networks that multiply spikes or take their maximum, which mixed spikes do not allow.
REFUSED_WITH_PIT_FULL = {
    *("resnet34", "sew_resnet18", "sew_resnet50", "plifnet"),
    *("spike_driven_transformer", "e_spikeformer_t"),
}


def assert_program_equals_grid(program: SpikingProgram, x) -> None:
    report = program.verify(x)
    assert report, str(report)
    # The functions that `verify` has compiled.
    slot_logits, slots = program.watch(x, "slots")
    count_logits, counts = program.watch(x, "counts")
    assert np.array_equal(slot_logits, count_logits)
    assert slots.keys() == counts.keys() and len(slots) > 1
    for path, spikes in slots.items():
        assert set(np.unique(spikes)) <= {-1, 0, 1}
        assert np.array_equal(spikes.sum(2), counts[path])
    fired = [float(abs(spikes).mean()) for spikes in slots.values()]
    assert sum(rate > 0 for rate in fired) > len(fired) / 2, f"the network is dead: {fired}"
    # The grid is so fine that only membranes at a boundary fire another count.
    first = report.first_flip
    assert first is None or first.distance < 0.02, str(report)


@pytest.fixture(scope="module", params=SAMPLE, ids=lambda row: "-".join(map(str, row)))
def each_program(request):
    name, neuron, num_steps, levels = request.param
    model, variables, x = make_firing_network(name, NEURONS[neuron](levels), num_steps)
    program = compile(model, variables, x, verify=False)
    program.watch(x, "slots")  # Compile it now, quickly.
    return program, x


def test_a_program_equals_its_grid(each_program):
    assert_program_equals_grid(*each_program)


def test_bits_do_not_depend_on_the_optimizations_of_the_compiler(each_program, all_optimizations):
    program, x = each_program
    again = SpikingProgram(program.nodes, program.num_steps, program.fingerprint)
    for optimized, quick in zip(again.watch(x, "slots"), program.watch(x, "slots"), strict=True):
        chex.assert_trees_all_equal(optimized, quick)


def test_the_event_driven_runtime_returns_the_bits_of_the_program(each_program):
    assert_runtime_equals_program(*each_program)


def test_a_loaded_program_has_all_numbers_of_the_saved_one(each_program, tmp_path):
    program, _ = each_program
    program.save(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    assert str(loaded) == str(program) and loaded.num_steps == program.num_steps
    assert fingerprint(loaded.nodes) == loaded.fingerprint == fingerprint(program.nodes)


def assert_weights_fit(program: SpikingProgram, largest: int) -> None:
    for node in program.nodes:
        if isinstance(node, nodes.Accumulator):
            for synapse in node.synapses:
                assert synapse.weight is None or abs(synapse.weight).max() <= largest


def test_all_other_neurons_in_one_network_of_int8_weights():
    others = sorted(NEURONS.keys() - {neuron for _, neuron, *_ in SAMPLE})
    assert len(others) == 8
    layers = [(16, 3, 1, 1, "")] * len(others)
    factories = tuple(NEURONS[name](2) for name in others)
    model, variables, x = make_small_network(factories, 2, *layers, batch=4)
    program = compile(model, variables, x, verify=False, weights="int8")
    assert_weights_fit(program, 127)
    assert program.verify(x)  # Equal to its grid, though not to the trained network.
    fired = [float(abs(spikes).mean()) for spikes in program.trace(x).values()]
    assert len(fired) == len(others) and all(fired)
    assert_runtime_equals_program(program, x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, neuron, levels",
    [
        (name, neuron, levels)
        for name in DISTINCT
        for neuron in sorted(NEURONS)
        for levels in ((1, 2, 4) if neuron in MULTI_LEVEL else (1,))
    ],
)
@pytest.mark.parametrize("num_steps", [1, 2, 4])
def test_all_networks_neurons_steps_and_levels_equal_their_grids(name, neuron, num_steps, levels):
    model, variables, x = make_firing_network(name, NEURONS[neuron](levels), num_steps, seed=levels)
    if neuron == "PITFull" and name in REFUSED_WITH_PIT_FULL:
        with pytest.raises(NotFoldable):
            compile(model, variables, x)
    else:
        assert_program_equals_grid(compile(model, variables, x, verify=False), x)


@pytest.fixture(scope="module")
def small_network():
    layers = (4, 3, 1, 1, ""), (4, 3, 1, 1, "")
    return make_small_network(partial(neurons.PIT, levels=2), 2, *layers)


@pytest.fixture(scope="module")
def program(small_network):
    return compile(*small_network)


def test_all_calls_agree(small_network, program):
    x = small_network[-1]
    logits, spikes = program.watch(x, "slots")
    assert np.array_equal(program(x), logits) and np.array_equal(program.grid(x), logits)
    for form, trace in (("slots", program.trace(x)), ("counts", program.counts(x))):
        assert trace.keys() == spikes.keys()
        for path, each in program.watch(x, form)[1].items():
            assert np.array_equal(trace[path], each)


def test_int16_weights_run(small_network):
    model, variables, x = small_network
    program = compile(model, variables, x, verify=False, weights="int16")
    assert_weights_fit(program, 32767)
    assert program.verify(x)
    assert_runtime_equals_program(program, x)


def test_each_step_reads_its_frame(small_network, program):
    model, variables, x = small_network
    frames = jnp.stack([x, -x], axis=1)
    # A network compiles to the same program from frames as from images.
    assert compile(model, variables, frames, verify=False).fingerprint == program.fingerprint
    assert_program_equals_grid(program, frames)
    assert not np.array_equal(program.watch(frames, "slots")[0], program(x))


def test_an_image_equals_a_repeated_frame(small_network, program):
    x = small_network[-1]
    frames = jnp.stack([x, x], axis=1)
    assert np.array_equal(program(x), program.watch(frames, "slots")[0])


def test_samples_of_a_batch_are_independent(small_network, program):
    x = small_network[-1]
    assert np.array_equal(program(x)[2], program((-x).at[2].set(x[2]))[2])
    assert np.array_equal(program(x)[2:3], program(x[2:3]))


def test_verify_detects_one_changed_number(small_network, program):
    x = small_network[-1]
    assert program.verify(x)
    first = next(node for node in program.nodes if isinstance(node, nodes.Accumulator))
    for numbers in (first.synapses[0].weight, first.bias):
        numbers.flat[0] += 1
        report = program.verify(x)
        assert not report and "the program was changed" in str(report)
        numbers.flat[0] -= 1
    assert program.verify(x)


def test_verify_takes_many_batches_and_prints_a_report(small_network, program):
    x = small_network[-1]
    labels = np.asarray(program(x)).argmax(-1)
    report = program.verify([x, 100 * x], [labels, labels])
    assert report.samples == 16 and report.clipped > 0
    assert report.accuracy >= 0.5 and report.reference_accuracy >= 0.5
    text = str(report)
    assert text.startswith("verified on 16 samples: spikes of 2 of 2 layers and logits are equal")
    assert "input values were clipped at the largest input" in text
    assert f"accuracy {report.accuracy:.2%}, of the trained network in floats" in text
    with pytest.raises(ValueError, match=r"each of 8 samples must have a label, got \(3,\)"):
        program.verify(x, labels[:3])
    with pytest.raises(ValueError, match="there are more batches; give as many of both"):
        program.verify([x, x], [labels])
    with pytest.raises(ValueError, match="not finite"):
        program.verify(x.at[0, 0, 0, 0].set(np.nan))
    for nothing in ([], x[:0]):
        with pytest.raises(ValueError, match="nothing to verify"):
            program.verify(nothing)
    assert program.verify([x, x[:0]]).samples == 8


def test_a_variance_below_zero_is_refused_by_name(small_network):
    model, variables, x = small_network
    norms = {name: dict(norm) for name, norm in variables["batch_stats"].items()}
    name = next(iter(norms))
    norms[name]["var"] = -norms[name]["var"]
    with pytest.raises(ValueError, match=f"batch_stats/{name}/var holds a variance of -"):
        compile(model, {**variables, "batch_stats": norms}, x)


def test_a_program_prints_its_layers(program):
    text = str(program)
    assert "input 8x8x3 in units of" in text
    assert "<- 0 conv 3x3x3x4 of pixels, multiplies (Conv_0)" in text
    assert "conv 3x3x4x4 x 2 steps (Conv_1)" in text
    assert "neurons fire 2 slots <- 1, threshold " in text


@pytest.mark.parametrize(
    "name, neuron, message",
    [
        ("resnet8", neurons.ReLU, "is a ReLU, which sends no spikes"),
        ("sew_resnet18", partial(neurons.PITFull, levels=2), "the max-pool in .* reads a sum"),
        ("plifnet", partial(neurons.RealSpike), "follows a scale that is not above 0"),
    ],
)
def test_networks_without_an_exact_program_are_refused(name, neuron, message):
    model, variables, x = make_constant_network(name, neuron, 1)
    if neuron != neurons.ReLU and "RealSpike" in str(neuron):
        variables["params"]["RealSpike_0"]["amplitude"] *= -1
    with pytest.raises(NotFoldable, match=message):
        compile(model, variables, x)


@pytest.mark.parametrize("join", [pytest.param("and", marks=pytest.mark.slow), "iand"])
def test_joins_of_binary_spikes_compile(join):
    model, variables, x = make_firing_network("sew_resnet18", neurons.IF, 2, join=join)
    program = compile(model, variables, x, verify=False)
    assert_program_equals_grid(program, x)
    # The stem's spikes reach a product through a max-pool.
    assert any(isinstance(node, nodes.Product) and any(node.pools) for node in program.nodes)
    assert_runtime_equals_program(program, x)


def test_pit_with_a_hard_reset_compiles():
    pit, layers = partial(neurons.PIT, levels=4), [(4, 3, 1, 1, "")] * 2
    model, variables, x = make_small_network(partial(pit, reset=hard_reset), 2, *layers)
    soft = model.clone(neuron=pit)
    hard_logits, soft_logits = (jit_once(m.apply)(variables, x) for m in (model, soft))
    assert not np.array_equal(hard_logits, soft_logits)
    assert_program_equals_grid(compile(model, variables, x, verify=False), x)


@pytest.mark.parametrize("neuron", [neurons.LIF, neurons.PIT])
def test_a_reset_without_a_rule_is_refused(neuron):
    def half_reset(u, s, **kw):
        return soft_reset(u, 0.5 * s, **kw)

    model, variables, x = make_constant_network("cifarnet", partial(neuron, reset=half_reset), 2)
    with pytest.raises(NotFoldable, match="the reset .*half_reset.* has no rule. Use soft_reset"):
        compile(model, variables, x)


def test_joins_of_spikes_with_several_levels_are_refused():
    model, variables, x = make_constant_network(
        "sew_resnet18", partial(neurons.PIT, levels=2), 1, join="iand"
    )
    with pytest.raises(NotFoldable, match="reads sums of spikes, more than one level or"):
        compile(model, variables, x)


@pytest.mark.parametrize(
    "sample, message",
    [
        (np.zeros(8), "got \\(8,\\)"),
        (np.zeros((0, 8, 8, 3)), "got \\(0, 8, 8, 3\\)"),
        (np.full((2, 8, 8, 3), np.nan), "not finite"),
        (np.zeros((2, 8, 8, 3)), "is 0 everywhere.* give samples as the network sees them"),
    ],
)
def test_an_unusable_sample_batch_is_refused(small_network, sample, message):
    model, variables, _ = small_network
    with pytest.raises(ValueError, match=message):
        compile(model, variables, sample)


def test_an_input_of_the_wrong_shape_is_refused(small_network, program):
    with pytest.raises(
        ValueError, match=r"takes images \[B, 8, 8, 3\] or frames \[B, 2, 8, 8, 3\]"
    ):
        program(small_network[-1][:, :4])


def test_bitwise_slots_are_the_bits_of_counts():
    layers = [(4, 3, 1, 1, "")] * 2
    model, variables, x = make_small_network(partial(neurons.PIT, levels=4), 2, *layers)
    program = compile(model, variables, x, code="bitwise", verify=False)
    x = 2 * x  # Some membranes are above 4 levels.
    report = program.verify(x)
    assert report, str(report)
    counts = program.counts(x)
    assert max(int(count.max()) for count in counts.values()) == 4
    for path, spikes in program.trace(x).items():
        assert spikes.shape[2] == 3 and set(np.unique(spikes)) <= {0, 1}
        assert program.slots[path] == (4, 2, 1)
        assert np.array_equal(np.einsum("btd...,d->bt...", spikes, [4, 2, 1]), counts[path])


@pytest.mark.parametrize(
    "name, message",
    [
        ("sew_resnet18", "the max-pool before .* reads the slots of PIT_0 one by one"),
        ("spike_driven_transformer", "the product block1/attention reads the slots"),
        ("e_spikeformer_t", "the attention stage2_block1/attention reads the slots"),
    ],
)
def test_the_bitwise_code_is_refused_before_maxima_and_products(name, message):
    neuron = neurons.ILIF if name == "e_spikeformer_t" else neurons.PIT
    model, variables, x = make_constant_network(name, partial(neuron, levels=2), 1)
    with pytest.raises(NotFoldable, match=message):
        compile(model, variables, x, code="bitwise")


def test_an_unknown_code_is_refused(small_network):
    with pytest.raises(ValueError, match="code is 'rate'; it can be thermometer, bitwise"):
        compile(*small_network, code="rate")


def test_a_warning_reports_counts_that_rounding_cannot_explain(small_network, monkeypatch):
    model, variables, x = small_network
    params = {**variables["params"]}
    halved = jax.tree.map(lambda leaf: leaf / 2, params["Conv_0"])
    program = compile(model, variables | {"params": {**params, "Conv_0": halved}}, x)
    reference = program.reference
    monkeypatch.setattr(program_module, "make_reference", lambda *_: reference)
    with pytest.warns(UserWarning, match="PIT_0 fires counts unlike the trained"):
        assert compile(model, variables, x).verify(x)
