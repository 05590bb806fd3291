"""Exported NIR graphs and networks read from them compute the same as the program."""

from functools import partial

import jax
import jax.numpy as jnp
import nir
import numpy as np
import pytest

from pit_jax import neurons
from pit_jax.export import NotInNIR, from_nir, to_nir
from pit_jax.inference import ArtifactError, compile
from pit_jax.neurons.step import hard_reset
from tests.export.graphs import HARD_LIF, count_by_layer, make_joined, make_program, round_to_grid
from tests.helpers import collect_by_layer

# The last column is the expected precision.
EXACT = [
    ("resnet8", partial(neurons.PIT, levels=2), 1, "float32", "float64"),
    ("resnet8", HARD_LIF, 4, "int8", "float64"),
    pytest.param("sew_resnet18", neurons.IF, 2, "int8", "float64", marks=pytest.mark.slow),
    ("vgg11", partial(neurons.QAT, levels=2), 2, "int8", "float32"),
    pytest.param(
        *("resnet34", partial(neurons.ILIF, levels=2), 1, "float32", "float64"),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("name", "neuron", "num_steps", "weights", "precision"), EXACT)
def test_spikes_and_logits_equal_those_of_the_program(
    name, neuron, num_steps, weights, precision, tmp_path
):
    program, x = make_program(name, neuron, num_steps, weights=weights)
    graph = to_nir(program, tmp_path / "program.nir")
    assert graph.metadata["precision"] == precision
    again, read = from_nir(tmp_path / "program.nir")
    x = round_to_grid(x, graph)
    with jax.enable_x64(precision == "float64"):
        wide = jax.tree.map(lambda leaf: leaf.astype(precision), read)
        apply = jax.jit(partial(again.apply, mutable=["intermediates"]))
        logits, probes = jax.device_get(apply(wide, x.astype(precision)))
    assert np.array_equal(np.asarray(logits).mean(1), program(x))
    spikes = collect_by_layer(probes["intermediates"], "count")
    ours = count_by_layer(program, spikes)
    counts = program.counts(x)
    assert counts.keys() == ours.keys()
    for path in counts:
        assert np.array_equal(ours[path], counts[path]), path
    assert np.mean([np.any(layer) for layer in counts.values()]) > 0.5


@pytest.mark.parametrize(
    ("name", "neuron", "num_steps", "says"),
    [
        ("resnet8", neurons.LIF, 2, "keeps some of its membrane when it fires"),
        ("resnet8", partial(neurons.ILIF, levels=2), 2, "fires integers over 2 steps"),
        ("resnet8", partial(neurons.PIT, levels=1), 2, "thresholds that differ from step to step"),
        ("resnet8", neurons.Ternary, 1, "can fire -1"),
        ("resnet8", neurons.PLIF, 4, "in 4 steps the program rounds .* bits"),
        ("ms_resnet18", neurons.IF, 2, "multiplies currents and rounds the result"),
        pytest.param(
            *(
                "spike_driven_transformer",
                partial(neurons.ILIF, levels=1),
                1,
                "maximum of currents",
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_parts_without_a_nir_counterpart_are_refused_by_name(name, neuron, num_steps, says):
    program, _ = make_program(name, neuron, num_steps)
    with pytest.raises(NotInNIR, match=says):
        to_nir(program)


def test_products_of_spikes_are_refused():
    with pytest.raises(NotInNIR, match="multiplies spikes; NIR has no such node"):
        to_nir(make_joined("and")[0])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    program, _ = make_program("cifarnet", neurons.IF, 2)
    path = tmp_path_factory.mktemp("nir") / "program.nir"
    to_nir(program, path)
    return program, path


def test_one_flipped_bit_or_a_lost_end_is_refused(written, tmp_path):
    _, path = written
    graph = nir.read(path)
    conv = next(node for node in graph.nodes.values() if isinstance(node, nir.Conv2d))
    conv.weight.view(np.uint8).flat[5] ^= 1
    nir.write(tmp_path / "flipped.nir", graph)
    with pytest.raises(ArtifactError, match="does not match its hash"):
        from_nir(tmp_path / "flipped.nir")
    content = path.read_bytes()
    for keep in (len(content) // 2, 100, 0):
        (tmp_path / "short.nir").write_bytes(content[:keep])
        with pytest.raises(ArtifactError, match="is not a NIR graph, or it is damaged"):
            from_nir(tmp_path / "short.nir")
    with pytest.raises(ArtifactError, match="there is no file"):
        from_nir(tmp_path / "none.nir")


def test_changed_edges_or_metadata_are_refused(written):
    _, path = written
    for change in (
        lambda graph: graph.edges.reverse() or graph.edges.pop(),
        lambda graph: graph.metadata.update(num_steps=3),
    ):
        graph = nir.read(path)
        change(graph)
        with pytest.raises(ArtifactError, match="does not match its hash"):
            from_nir(graph)


def test_an_existing_file_is_replaced_only_with_overwrite(written):
    program, path = written
    with pytest.raises(ArtifactError, match="already exists"):
        to_nir(program, path)
    to_nir(program, path, overwrite=True)
    assert from_nir(path)[0].num_steps == 2


def test_dt_must_be_positive(written):
    with pytest.raises(ValueError, match="dt, the seconds per step, must be above 0, got 0.0"):
        to_nir(written[0], dt=0.0)


def chain(*nodes) -> nir.NIRGraph:
    return nir.NIRGraph.from_list(*nodes)


def lif(tau=2e-4, r=2.0, v_leak=0.0, v_threshold=1.0, v_reset=0.0) -> nir.LIF:
    values = (tau, r, v_leak, v_threshold, v_reset)
    return nir.LIF(*(np.full(2, value) for value in values))


def test_a_graph_without_hash_of_another_tool_is_read():
    # Half of a membrane is kept per step; a NIR neuron does not fire at its threshold.
    linear = nir.Linear(np.eye(2, dtype=np.float32))
    model, variables = from_nir(chain(linear, lif()), num_steps=3)
    x = jnp.array([[1.0, 0.5]])
    spikes = model.apply(variables, x)
    np.testing.assert_array_equal(spikes[0], [[0, 0], [1, 0], [0, 0]])


def test_the_caller_sets_the_time_step():
    integrator = nir.IF(r=np.ones(2), v_threshold=np.ones(2))
    with pytest.raises(NotInNIR, match="set dt=1/r"):
        from_nir(chain(integrator), num_steps=2)
    model, variables = from_nir(chain(integrator), num_steps=2, dt=1.0)
    spikes = model.apply(variables, jnp.array([[0.75, 0.25]]))
    np.testing.assert_array_equal(spikes[0], [[0, 0], [1, 0]])
    with pytest.raises(ValueError, match="give num_steps"):
        from_nir(chain(integrator))


def test_thresholds_may_differ_between_neurons():
    model, variables = from_nir(chain(nir.Threshold(np.array([0.5, 2.0]))), num_steps=1)
    spikes = model.apply(variables, jnp.array([[0.5, 2.5]]))
    np.testing.assert_array_equal(spikes[0], [[0, 1]])


def make_recurrent() -> nir.NIRGraph:
    graph = chain(nir.Linear(np.eye(2)), lif())
    graph.edges.append(("lif", "linear"))
    return graph


@pytest.mark.parametrize(
    ("graph", "says"),
    [
        (
            lambda: chain(nir.LI(*(np.ones(2) for _ in range(3)))),
            "li is a LI, which cannot be",
        ),
        (lambda: chain(lif(v_reset=0.5)), "lif has v_reset = 0.5"),
        (lambda: chain(lif(v_leak=-1)), "lif has v_leak = -1"),
        (lambda: chain(lif(r=3.0)), "lif has r dt / tau = 1.5"),
        (lambda: chain(lif(tau=5e-5)), "at least dt"),
        (make_recurrent, "recurrent"),
    ],
)
def test_unsupported_nodes_and_parameters_are_refused_by_name(graph, says):
    with pytest.raises(NotInNIR, match=says):
        from_nir(graph(), num_steps=1)


def test_a_network_from_nir_can_be_compiled_again():
    hard_if = partial(neurons.IF, reset=hard_reset)
    program, x = make_program("cifarnet", hard_if, 2, weights="int8", batch=8)
    graph = to_nir(program)
    again, read = from_nir(graph)
    x = round_to_grid(x, graph)
    twice = compile(again, read, x, verify=False)
    agree = np.argmax(twice(x), -1) == np.argmax(program(x), -1)
    assert agree.all()
