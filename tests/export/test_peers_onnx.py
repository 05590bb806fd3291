"""onnxruntime computes the logits of a program in a process without pit_jax, JAX and Flax."""

import hashlib
import json
import subprocess
import sys
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from pit_jax import neurons
from pit_jax.export import load_onnx, to_onnx
from pit_jax.inference import ArtifactError, compile
from tests.export.graphs import BYTES, MEAN, STD, make_joined
from tests.inference.networks import NEURONS, make_firing_network

SAMPLE = [
    ("resnet8", "PIT", 2, 4),
    ("resnet19", "LIF", 2, 1),
    ("resnet20", "QAT", 1, 2),
    ("resnet8", "QBLIF", 2, 2),
    ("sew_resnet18", "PIT", 2, 2),
    ("ms_resnet18", "GLIF", 2, 1),
    ("vgg11", "PITFull", 2, 2),
    ("vgg16", "CLIF", 4, 1),
    ("plifnet", "IF", 2, 1),
    ("cifarnet", "Ternary", 2, 1),
    ("spike_driven_transformer", "ILIF", 2, 2),
    ("e_spikeformer_t", "ILIF", 1, 4),
]

ALONE = """
import sys
for name in ("pit_jax", "jax", "flax"):
    sys.modules[name] = None
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for name in sys.argv[2:]:
    (logits,) = session.run(None, {"x": np.load(name)})
    np.save(name + ".logits.npy", logits)
"""


def run_alone(path, batches, tmp_path) -> list[np.ndarray]:
    """Return the logits of each batch, computed in another process."""
    names = [str(tmp_path / f"{i}.npy") for i in range(len(batches))]
    for name, x in zip(names, batches, strict=True):
        np.save(name, np.asarray(x))
    subprocess.run([sys.executable, "-c", ALONE, str(path), *names], check=True)
    return [np.load(name + ".logits.npy") for name in names]


def assert_file_equals(program, x, path, tmp_path, **kw):
    to_onnx(program, path, **kw)
    batches = [x[:5], x[:1]]
    for batch, logits in zip(batches, run_alone(path, batches, tmp_path), strict=True):
        assert logits.any() and logits.dtype == np.float32
        assert np.array_equal(logits, program(batch))


@pytest.mark.parametrize(("name", "neuron", "num_steps", "levels"), SAMPLE)
def test_onnxruntime_computes_the_logits_of_the_program(name, neuron, num_steps, levels, tmp_path):
    model, variables, x = make_firing_network(name, NEURONS[neuron](levels), num_steps)
    program = compile(model, variables, x, verify=False)
    assert_file_equals(program, x, tmp_path / "program.onnx", tmp_path)


@pytest.fixture(scope="module")
def small():
    return make_firing_network("resnet8", partial(neurons.PIT, levels=3), 2)


def test_frames_bitwise_codes_and_int8_weights_are_exported(small, tmp_path):
    model, variables, x = small
    frames = jnp.stack([x, -x], axis=1)
    program = compile(model, variables, frames, code="bitwise", weights="int8")
    assert_file_equals(program, frames, tmp_path / "frames.onnx", tmp_path, frames=True)


@pytest.mark.filterwarnings("ignore:.* or NaN, and were clipped:UserWarning")
def test_nan_pixels_count_as_0(small, tmp_path):
    model, variables, x = small
    program = compile(model, variables, x)
    assert_file_equals(program, x.at[:, 1].set(jnp.nan), tmp_path / "gaps.onnx", tmp_path)


@pytest.fixture(scope="module")
def of_pixels(small):
    model, variables, _ = small
    return compile(model, variables, BYTES, mean=MEAN, std=STD)


def test_raw_pixels_are_normalized_in_the_file(of_pixels, tmp_path):
    program, path = of_pixels, tmp_path / "raw.onnx"
    assert_file_equals(program, BYTES, path, tmp_path)
    assert np.array_equal(load_onnx(path)(BYTES), program.grid(BYTES))
    (x,) = onnx.load(path).graph.input
    assert x.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    known = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert json.loads(known["normalization"]) == {"mean": [*MEAN], "std": [*STD]}
    with pytest.raises(ValueError, match="A file exported with input='normalized' takes float32"):
        load_onnx(path)(program.normalize(BYTES))
    frames = np.stack([BYTES, 255 - BYTES], axis=1)
    assert_file_equals(program, frames, tmp_path / "frames.onnx", tmp_path, frames=True)


def test_counts_of_one_channel_enter_the_file_unchanged(tmp_path):
    model, variables, x = make_firing_network("resnet8", partial(neurons.PIT, levels=2), 1)
    one = np.random.default_rng(0).poisson(1.0, x.shape).astype(np.uint8)
    program = compile(model, variables, one, mean=(), std=())
    assert_file_equals(program, one, tmp_path / "counts.onnx", tmp_path)


def test_a_file_of_normalized_inputs_refuses_raw_pixels(of_pixels, tmp_path):
    program, path = of_pixels, tmp_path / "floats.onnx"
    x = program.normalize(BYTES)
    assert_file_equals(program, x, path, tmp_path, input="normalized")
    run = load_onnx(path)
    assert np.array_equal(run(np.float64(x)), program.grid(BYTES))
    with pytest.raises(ValueError, match="A file exported with input='pixels' takes uint8"):
        run(BYTES)
    with pytest.warns(UserWarning, match="% of the input values are beyond"):
        run(BYTES.astype(np.float32))


@pytest.mark.parametrize("join", ["and", "iand"])
def test_joins_of_binary_spikes_are_exported(join, tmp_path):
    program, x = make_joined(join)
    assert_file_equals(program, x, tmp_path / "joined.onnx", tmp_path)


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    model, variables, x = small
    path = tmp_path_factory.mktemp("onnx") / "program.onnx"
    program = compile(model, variables, x)
    to_onnx(program, path)
    return program, x, path


def test_the_metadata_identifies_program_and_initializers(written):
    program, _, path = written
    model = onnx.load(path)
    metadata = {each.key: each.value for each in model.metadata_props}
    assert metadata["program"] == program.fingerprint and metadata["num_steps"] == "2"
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        digest.update(tensor.SerializeToString(deterministic=True))
    assert metadata["initializers_sha256"] == digest.hexdigest()
    assert {node.domain for node in model.graph.node} == {""}


def test_load_onnx_computes_the_logits_of_the_program(written):
    program, x, path = written
    assert np.array_equal(load_onnx(path)(x), program(x))


def test_sha256sum_accepts_the_hash_file(written):
    _, _, path = written
    check = ["sha256sum", "-c", f"{path.name}.sha256"]
    subprocess.run(check, cwd=path.parent, check=True, stdout=subprocess.DEVNULL)


def test_one_flipped_bit_or_a_lost_end_is_refused(written, tmp_path):
    _, _, path = written
    content = bytearray(path.read_bytes())
    copy = tmp_path / path.name
    (tmp_path / f"{path.name}.sha256").write_bytes(
        path.with_name(f"{path.name}.sha256").read_bytes()
    )
    weight = max(onnx.load(path).graph.initializer, key=lambda tensor: len(tensor.raw_data))
    content[content.index(weight.raw_data) + 5] ^= 1
    for damaged in (bytes(content), path.read_bytes()[:-1]):
        copy.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="does not match its .sha256 file"):
            load_onnx(copy)
    copy.unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_onnx(copy)


def test_an_existing_file_is_replaced_only_with_overwrite(written):
    program, x, path = written
    with pytest.raises(ArtifactError, match="already exists"):
        to_onnx(program, path)
    to_onnx(program, path, overwrite=True)
    assert np.array_equal(load_onnx(path)(x), program(x))


def write_with_hash(path, content):
    path.write_bytes(content)
    line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
    path.with_name(f"{path.name}.sha256").write_text(line)


def test_damaged_models_with_a_new_hash_are_refused(written, tmp_path):
    content = written[2].read_bytes()
    other = onnx.load(written[2])
    other.graph.input[0].name = "y"
    for bad in (b"", b"text", content[: len(content) // 2], other.SerializeToString()):
        write_with_hash(tmp_path / "bad.onnx", bad)
        with pytest.raises(ArtifactError, match="bad.onnx .*Export it again") as error:
            load_onnx(tmp_path / "bad.onnx")
        assert str(error.value).count("\n") < 3


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 8, 8, 4), (8, 8, 3), ()])
def test_inputs_of_another_shape_are_refused(written, shape):
    with pytest.raises(ValueError, match=r"the input must be \[batch, .* at least one sample"):
        load_onnx(written[2])(np.zeros(shape))
