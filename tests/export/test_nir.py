"""Exported NIR graphs and networks read from them compute the same as the program."""

from collections.abc import Iterator
from functools import partial

import h5py
import jax
import jax.numpy as jnp
import nir
import numpy as np
import pytest

from pit_jax import neurons
from pit_jax.export import NotInNIR, from_nir, nir_file, to_nir
from pit_jax.inference import ArtifactError, compile
from pit_jax.neurons.step import hard_reset
from tests.export.graphs import (
    CHAIN,
    HARD_LIF,
    count_by_layer,
    make_joined,
    make_program,
    make_rockpool,
    round_to_grid,
    write_tree,
)
from tests.helpers import collect_by_layer, compile_quickly


@pytest.fixture(scope="module", autouse=True)
def _compile_quickly() -> Iterator[None]:
    """Compile with few optimizations: on the grid of the inputs no bit depends on them."""
    with compile_quickly():
        yield


# The last column is the expected precision.
EXACT = [
    ("resnet8", partial(neurons.PIT, levels=2), 1, "float32", "float64"),
    ("resnet8", HARD_LIF, 4, "int8", "float64"),
    ("vgg11", partial(neurons.QBLIF, levels=2), 1, "int8", "float32"),
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
        (lambda: chain(lif(r=0.0)), "lif has r dt / tau = 0; it must be above 0"),
        (lambda: chain(lif(r=-3.0)), "lif has r dt / tau = -1.5; it must be above 0"),
        (lambda: chain(lif(r=1e-30, v_threshold=1e20)), "lif has r dt / tau = 5e-31; .* enough"),
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


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"v_threshold": [1.0]},
        {"v_threshold": np.ones(3), "r": [2.0]},
        {"tau": np.full(3, 2e-4), "v_reset": 0.0},
        {"v_threshold": np.float64(1), "v_leak": np.int8(0)},
    ],
)
def test_scalar_parameters_of_neurons_are_broadcast(tmp_path, parameters):
    path = write_tree(tmp_path / "rockpool.nir", make_rockpool(**parameters), CHAIN)
    model, variables = from_nir(path, num_steps=3)
    spikes = model.apply(variables, jnp.array([[1.0, 0.5, 2.0]]))
    np.testing.assert_array_equal(spikes[0], [[0, 0, 1], [1, 0, 1], [0, 0, 1]])


def test_scalar_parameters_on_a_map_are_broadcast(tmp_path):
    nodes = {
        "input": {"type": "Input", "shape": [2, 4, 4]},
        "lif": {"type": "Threshold", "threshold": np.float32([[[0.5]], [[1.5]]])},
        "scale": {"type": "Scale", "scale": 2.0},
        "output": {"type": "Output", "shape": [2, 4, 4]},
    }
    edges = [("input", "lif"), ("lif", "scale"), ("scale", "output")]
    model, variables = from_nir(write_tree(tmp_path / "map.nir", nodes, edges), num_steps=1)
    spikes = model.apply(variables, jnp.ones((1, 4, 4, 2)))
    np.testing.assert_array_equal(spikes[0, 0, 2, 2], [2, 0])
    nodes["lif"]["threshold"] = np.ones(2, np.float32) * [1, 2]  # Channels or columns?
    with pytest.raises(NotInNIR, match=r"lif has threshold of the shape \(2,\), channels first"):
        from_nir(write_tree(tmp_path / "map.nir", nodes, edges), num_steps=1)


@pytest.mark.parametrize("edges", [CHAIN, CHAIN[1:], [*CHAIN, CHAIN[0]], [*CHAIN, ("x", "lif")]])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("lif", {"type": "LIF", "tau": 2e-4}),
        ("lif", {"type": "CubaLIF", "tau_mem": 1.0}),
        ("lif", {"type": 7}),
        ("linear", {"type": "Linear", "weight": np.ones((3, 2))}),
        ("linear", {"type": "Linear", "weight": np.full((3, 3), np.nan)}),
        ("linear", {"type": "Linear", "weight": "text"}),
        ("input", {"type": "Input", "shape": [-3]}),
        ("output", {"type": "Output", "shape": [4]}),
    ],
)
def test_whole_files_are_never_called_damaged(tmp_path, name, fields, edges):
    path = write_tree(tmp_path / "other.nir", make_rockpool() | {name: fields}, edges)
    with pytest.raises(NotInNIR, match="other.nir: ") as error:
        from_nir(path, num_steps=2)
    assert "damaged" not in str(error.value)


def test_an_hdf5_file_of_another_kind_is_named(tmp_path):
    with h5py.File(tmp_path / "keras.h5", "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(NotInNIR, match="keras.h5 is an HDF5 file without a NIR graph"):
        from_nir(tmp_path / "keras.h5", num_steps=1)


@pytest.mark.parametrize("groups", [0, -1, 0.5, 3, np.nan, 2**40, "two", [], [1, 1], None])
def test_groups_of_any_value_are_refused_by_name(groups):
    weight = np.ones((2, 2, 3, 3), np.float32)
    conv = nir.Conv2d((4, 4), weight, 1, 1, 1, 1, np.zeros(2, np.float32))
    graph = chain(conv)
    conv.groups = groups
    with pytest.raises(NotInNIR, match="conv2d has .*groups"):
        from_nir(graph, num_steps=1)


@pytest.mark.parametrize("field", ["stride", "dilation", "padding"])
@pytest.mark.parametrize("value", [-1, 0.5, [1, 2, 3], "three", 2**40, np.inf, {}])
def test_windows_of_any_value_are_refused_by_name(field, value):
    weight = np.ones((2, 2, 3, 3), np.float32)
    conv = nir.Conv2d((4, 4), weight, 1, 1, 1, 1, np.zeros(2, np.float32))
    graph = chain(conv)
    setattr(conv, field, value)
    with pytest.raises(NotInNIR, match=f"conv2d has {field}"):
        from_nir(graph, num_steps=1)


@pytest.mark.parametrize("found", [5, None, [1], np.arange(3), b"\xff", {"a": 1}, np.nan, ""])
def test_hashes_of_any_type_do_not_match(found):
    graph = chain(nir.Linear(np.eye(2, dtype=np.float32)))
    graph.metadata["sha256"] = found
    with pytest.raises(ArtifactError, match="the graph does not match its hash"):
        from_nir(graph, num_steps=1)


@pytest.mark.parametrize("steps", [0, -1, 1.5, "two", [1, 2], np.nan, 2**40])
def test_numbers_of_steps_of_any_value_are_refused(steps):
    graph = chain(nir.Linear(np.eye(2, dtype=np.float32)))
    graph.metadata["num_steps"] = steps
    with pytest.raises(NotInNIR, match="the graph has num_steps = "):
        from_nir(graph)
    with pytest.raises(NotInNIR, match="the graph has num_steps = 0"):
        from_nir(graph, num_steps=0)


def test_self_edges_and_missing_inputs_are_refused():
    for edge, says in ((("lif", "lif"), "is recurrent"), (("lif", "none"), "does not connect")):
        graph = chain(nir.Linear(np.eye(2)), lif())
        graph.edges.append(edge)
        with pytest.raises(NotInNIR, match=says):
            from_nir(graph, num_steps=1)
    graph = chain(nir.Linear(np.eye(2)), lif())
    del graph.edges[1]
    with pytest.raises(NotInNIR, match="lif must read other nodes"):
        from_nir(graph, num_steps=1)
    del graph.nodes["input"]
    with pytest.raises(NotInNIR, match="edge .* does not connect|one input and one output"):
        from_nir(graph, num_steps=1)


def test_a_parser_that_never_ends_is_ended(written, tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("while True: pass")
    monkeypatch.setattr(nir_file, "CHILD", tmp_path / "endless.py")
    monkeypatch.setattr(nir_file, "SECONDS", 1)
    with pytest.raises(ArtifactError, match="program.nir is not a NIR graph.* does not end"):
        from_nir(written[1])


def test_data_sets_that_declare_more_than_there_is_are_refused(tmp_path):
    path = write_tree(tmp_path / "huge.nir", make_rockpool(), CHAIN)
    with h5py.File(path, "a") as file:
        del file["node/nodes/linear/weight"]
        file.create_dataset("node/nodes/linear/weight", (10**6, 10**6), "f4", chunks=(10, 10))
    with pytest.raises(ArtifactError, match="declares 4,000,000,000,000 bytes, which are not"):
        from_nir(path, num_steps=1)
