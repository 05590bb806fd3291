"""Programs are encoded with all of their integers, or refused."""

import json
from base64 import b64decode
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest

from pit_jax import examples, neurons
from pit_jax.inference import SpikingProgram, compile
from pit_jax.inference.runtime import fixed_point, nodes
from pit_jax.inference.runtime.reductions import Structure
from pit_jax.models.count import count_layers
from tests.inference.networks import make_constant_network
from tests.inference.random_networks import make_small_network
from tests.train.demo.answers import read_interpreter
from train.demo import encode
from train.demo.encode import count_relu_products, encode_program, pack
from train.errors import UserError


def unpack(packed: dict[str, Any]) -> np.ndarray:
    data = np.frombuffer(b64decode(packed["data"]), np.uint8)
    bits, size = packed["bits"], int(np.prod(packed["shape"]))
    rows = np.unpackbits(data, bitorder="little")[: size * bits].reshape(size, bits)
    values = rows.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64)) + packed["low"]
    return values.reshape(packed["shape"])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((1, 3), np.int32),
        np.full((2, 2), -7),
        np.array([[-(2**31), 2**31 - 1, 0, 1, -1]], np.int32),
        np.random.default_rng(0).integers(-1000, 2000, (3, 3, 5, 7)),
        np.arange(256, dtype=np.float32)[:, None] - 128,
    ],
)
def test_packed_integers_are_read_again_in_the_fewest_bits(array):
    packed = pack(array)
    assert np.array_equal(unpack(packed), array)
    span = int(array.max()) - int(array.min())
    assert 2 ** packed["bits"] > span >= 2 ** packed["bits"] // 2
    json.dumps(packed)


@pytest.fixture(scope="module")
def digits() -> SpikingProgram:
    run = examples.digits()
    return run.compile(run.images()[0][:60], verify=False)


@pytest.fixture(scope="module")
def data(digits) -> dict[str, Any]:
    return encode_program(digits)


def test_the_digits_network_takes_half_a_megabyte(digits, data):
    assert len(json.dumps(data)) < 600_000
    assert data["shape"] == [8, 8, 1] and data["classes"] == 10 and data["steps"] == 1
    assert [layer["path"] for layer in data["layers"]] == list(digits.slots)
    for name, packed in data["arrays"].items():
        _, number, *rest = name.split(".")
        node = digits.nodes[int(number)]
        if rest == ["bias"]:
            assert np.array_equal(unpack(packed), node.bias)


def test_the_rows_are_the_costs_and_name_the_layer_that_they_read(digits, data):
    image = np.zeros((1, 8, 8, 1), np.uint8)
    for row, cost in zip(data["rows"], digits.costs(image).rows, strict=True):
        assert {key: row[key] for key in row if key != "layer"} == {
            key: value for key, value in vars(cost).items() if key != "accumulations"
        }
        read = data["layers"][row["layer"]]["path"] if row["layer"] >= 0 else None
        assert row["source"] == ("pixels" if read is None else f"spikes of {read}")


def test_a_relu_network_multiplies_once_in_each_layer(digits):
    # The table of costs counts the diagonal of a shortcut, which multiplies nothing, and the head
    # at each of 2 x 2 places before their mean.
    table = digits.costs(np.zeros((1, 8, 8, 1), np.uint8)).total("dense_macs")
    assert count_relu_products(digits.nodes) == table - 8 * 8 * 24 - 3 * 96 * 10


def test_steps_and_streams_do_not_multiply_the_products_of_a_relu_network():
    # Three convolutions of 1 x 1, of which the last reads two streams, and a head.
    layers = [(4, 1, 1, 1, ""), (4, 1, 1, 1, "add"), (2, 1, 1, 1, "")]
    model, variables, x = make_small_network(partial(neurons.PIT, levels=2), 2, *layers)
    program = compile(model, variables, x, verify=False)
    assert [len(n.synapses) for n in program.nodes if hasattr(n, "synapses")] == [1, 1, 2, 1]
    assert count_relu_products(program.nodes) == 8 * 8 * (3 * 4 + 4 * 4 + 4 * 2) + 2 * 3


@pytest.mark.slow
def test_the_products_of_a_transformer_include_its_attention():
    model, variables, x = make_constant_network("e_spikeformer_t", neurons.IF, 2)
    counted = count_relu_products(compile(model, variables, x, verify=False).nodes)
    once, *_ = make_constant_network("e_spikeformer_t", neurons.IF, 1)
    layers = count_layers(once, (1, *x.shape[1:]))
    # These include products with the zeros of paddings, which are many in images of 8 x 8.
    most = sum(layer.macs for layer in layers if layer.kind in ("conv", "linear", "product"))
    assert 0.5 * most < counted <= most


def test_the_interpreter_knows_all_nodes_and_constants():
    script = "\n".join(read_interpreter())
    for cls in (*get_args(nodes.Node), *get_args(Structure)):
        # What is left after all other kinds needs no name.
        assert f'"{cls.__name__}"' in script
    assert f"LEAK_BITS = {fixed_point.LEAK_BITS}," in script
    assert f"TABLE_STEP_BITS = {fixed_point.TABLE_STEP_BITS}," in script
    assert f"TABLE_HALF = {fixed_point.TABLE_RANGE} << TABLE_STEP_BITS" in script
    assert 2**30 == fixed_point.LARGEST and "LARGEST = 2 ** 30" in script


def test_programs_that_a_page_cannot_run_are_refused(digits, monkeypatch):
    model, variables, x = make_small_network(partial(neurons.PIT, levels=2), 1, (4, 3, 1, 1, ""))
    program = compile(model, variables, x, verify=False)
    with pytest.raises(UserError, match="takes normalized floats only.* with mean and std"):
        encode_program(program)
    with pytest.raises(UserError, match="a page cannot run a str"):
        encode._simplify(["node"])
    spikes = digits.nodes[2]
    neuron = replace(spikes.neuron, first=np.zeros((1, 7), np.int32))
    with pytest.raises(UserError, match="stage1_block1/PIT_0 has shapes that the interpreter"):
        encode._simplify([*digits.nodes[:2], replace(spikes, neuron=neuron)])
    monkeypatch.setattr(encode, "MOST_BYTES", 400_000)
    with pytest.raises(UserError, match=r"integers take 0\.\d MB, and a page may have 0 MB"):
        encode_program(digits)


def test_arrays_that_do_not_repeat_as_a_whole_are_written_out():
    rows = np.arange(3).reshape(1, 3, 1, 1)
    spread = encode._repeat_over_places(rows, (3, 2, 4))
    assert np.array_equal(spread, np.broadcast_to(rows, (1, 3, 2, 4)))
    channels = np.arange(4).reshape(1, 1, 1, 4)
    assert encode._repeat_over_places(channels, (3, 2, 4)) is channels
