"""StableHLO artifacts compute the logits of a program bit for bit, or are refused."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from pit_jax import neurons
from pit_jax.artifact import MANIFEST, MANIFEST_HASH
from pit_jax.export import load_stablehlo, stablehlo, to_stablehlo
from pit_jax.export.stablehlo import MODULE
from pit_jax.inference import ArtifactError, SpikingProgram
from tests.export.graphs import BYTES, MEAN, STD, make_program
from tests.inference.networks import NEURONS

FILES = (MANIFEST, MANIFEST_HASH, MODULE)
ALONE = """
import sys
for name in ("pit_jax", "flax"):
    sys.modules[name] = None  # An import of it fails.
import numpy
{snippet}
numpy.save("logits.npy", logits)
"""


@pytest.fixture(scope="module")
def small() -> tuple[SpikingProgram, jax.Array]:
    return make_program("resnet8", partial(neurons.PIT, levels=2), 2)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory) -> Path:
    """Return the folder of the exported small program."""
    folder = tmp_path_factory.mktemp("exported") / "digits.stablehlo"
    to_stablehlo(small[0], folder, about={"classes": ["a", "b"]})
    return folder


@pytest.mark.parametrize("batch", [1, 3])
def test_logits_equal_those_of_the_program_at_every_batch_size(small, whole, batch):
    program, x = small
    assert np.array_equal(load_stablehlo(whole)(x[:batch]), program(x[:batch]))


@pytest.mark.parametrize(
    "name, neuron, num_steps, levels",
    [
        ("cifarnet", "Ternary", 2, 1),
        ("e_spikeformer_t", "ILIF", 1, 4),
        ("spike_driven_transformer", "ILIF", 2, 2),
        ("cifarnet", "CLIF", 2, 1),
        pytest.param("vgg16", "CLIF", 2, 1, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_layer_is_exported(name, neuron, num_steps, levels, tmp_path):
    program, x = make_program(name, NEURONS[neuron](levels), num_steps)
    to_stablehlo(program, tmp_path / "out")
    logits = program(x)
    assert np.ptp(logits, axis=0).any()  # Samples differ.
    assert np.array_equal(load_stablehlo(tmp_path / "out")(x), logits)


def test_each_step_reads_its_frame(small, tmp_path):
    program, x = small
    frames = jnp.stack([x, -x], axis=1)
    to_stablehlo(program, tmp_path / "out", frames=True)
    assert np.array_equal(load_stablehlo(tmp_path / "out")(frames), program(frames))


def test_a_module_takes_raw_pixels_if_the_program_normalizes_them(tmp_path):
    program, _ = make_program("resnet8", partial(neurons.PIT, levels=2), 1, mean=MEAN, std=STD)
    to_stablehlo(program, tmp_path / "raw")
    raw, want = load_stablehlo(tmp_path / "raw"), program.grid(BYTES)
    assert raw.manifest["input"] == {"shape": ["batch", 8, 8, 3], "dtype": "uint8"}
    assert raw.manifest["normalization"]["mean"] == [*MEAN]
    assert np.ptp(want, axis=0).any() and np.array_equal(raw(BYTES), want)
    to_stablehlo(program, tmp_path / "floats", input="normalized")
    floats, x = load_stablehlo(tmp_path / "floats"), program.normalize(BYTES)
    assert floats.manifest["input"]["dtype"] == "float32"
    for each in (x, np.float64(x), jnp.asarray(x)):
        assert np.array_equal(floats(each), want)
    with pytest.raises(ValueError, match="float32.*A file exported with input='normalized' takes"):
        raw(x)
    with pytest.raises(ValueError, match=r'got .* int32. Convert pixels with astype\("uint8"\)'):
        raw(BYTES.astype(np.int32))
    with pytest.raises(ValueError, match="uint8.*A file exported with input='pixels' takes uint8"):
        floats(BYTES)
    with pytest.warns(UserWarning, match="% of the input values are beyond"):
        floats(BYTES.astype(np.float32))


def test_an_input_that_a_program_cannot_take_is_refused(small, tmp_path):
    with pytest.raises(ValueError, match="without mean and std, so it cannot normalize pixels"):
        to_stablehlo(small[0], tmp_path / "out", input="pixels")
    with pytest.raises(ValueError, match="input must be 'pixels', .* got 'uint8'"):
        to_stablehlo(small[0], tmp_path / "out", input="uint8")
    assert not list(tmp_path.iterdir())


def test_the_module_runs_without_pit_jax_and_flax(small, whole):
    """Run the example from the docstring of the module."""
    program, x = small
    snippet = textwrap.dedent("    import" + stablehlo.__doc__.split("    import", 1)[1])
    np.save(whole.parent / "x.npy", x[:3])
    subprocess.run(
        [sys.executable, "-c", ALONE.format(snippet=f"x = numpy.load('x.npy')\n{snippet}")],
        cwd=whole.parent,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        check=True,
    )
    assert np.array_equal(np.load(whole.parent / "logits.npy"), program(x[:3]))


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 4, 8, 3), np.float32),
        np.zeros((0, 8, 8, 3), np.float32),
        np.zeros((2, 8, 8, 3), np.uint8),
    ],
    ids=["shape", "none", "type"],
)
def test_inputs_of_another_shape_or_dtype_are_refused(whole, x):
    with pytest.raises(ValueError, match=r"must be \[batch, 8, 8, 3\] float32 with at least one"):
        load_stablehlo(whole)(x)


@pytest.mark.parametrize("entry", ["1", b"1", object(), 1j, None])
def test_arrays_of_texts_and_objects_are_refused_in_words(whole, entry):
    x = np.full((2, 8, 8, 3), entry)
    wanted = f"the input must be an array of real numbers, got {x.dtype} of the shape"
    with pytest.raises(ValueError, match=f"^{re.escape(wanted)}"):
        load_stablehlo(whole)(x)


def test_the_manifest_describes_input_output_and_program(small, whole):
    manifest = load_stablehlo(whole).manifest
    assert manifest == json.loads((whole / MANIFEST).read_text())
    assert manifest["input"] == {"shape": ["batch", 8, 8, 3], "dtype": "float32"}
    assert manifest["output"] == {"shape": ["batch", 5], "dtype": "float32"}
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    assert manifest["num_steps"] == 2 and manifest["fingerprint"] == small[0].fingerprint
    assert manifest["about"] == {"classes": ["a", "b"]}


@given(place=st.tuples(st.sampled_from(FILES), st.integers(0), st.integers(0, 7)))
@settings(max_examples=50)
def test_one_flipped_bit_in_any_file_is_refused(whole, tmp_path_factory, place):
    name, at, bit = place
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("flipped") / "out")
    content = bytearray((folder / name).read_bytes())
    content[at % len(content)] ^= 1 << bit
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="get another copy"):
        load_stablehlo(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_the_error_names_a_truncated_or_missing_file(whole, tmp_path, name, keep):
    folder = shutil.copytree(whole, tmp_path / "out")
    content = (folder / name).read_bytes()
    if keep is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ArtifactError, match=name):
        load_stablehlo(folder)


def test_a_module_that_jax_cannot_read_is_refused(small, tmp_path, monkeypatch):
    monkeypatch.setattr(jax.export.Exported, "serialize", lambda _: b"another version" * 9)
    to_stablehlo(small[0], tmp_path / "out")
    with pytest.raises(ArtifactError, match=f"is intact, but JAX {jax.__version__} cannot read"):
        load_stablehlo(tmp_path / "out")


@pytest.mark.parametrize("found", [None, [], 5, {"shape": ["batch", 9], "dtype": "float32"}])
def test_a_manifest_with_another_input_than_the_module_is_refused(whole, tmp_path, found):
    place = shutil.copytree(whole, tmp_path / "out")
    text = json.dumps(json.loads((whole / MANIFEST).read_text()) | {"input": found}).encode()
    (place / MANIFEST).write_bytes(text)
    line = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n"
    (place / "manifest.sha256").write_text(line)
    with pytest.raises(ArtifactError, match="out: the manifest has another input than the module"):
        load_stablehlo(place)


def test_the_folder_of_a_saved_program_is_refused(small, tmp_path):
    small[0].save(tmp_path / "saved")
    with pytest.raises(ArtifactError, match="has the kind 'pit_jax.program'"):
        load_stablehlo(tmp_path / "saved")


def test_an_existing_export_is_replaced_only_with_overwrite(small, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "out")
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(ArtifactError, match="already exists"):
        to_stablehlo(small[0], folder)
    assert (folder / MANIFEST).read_bytes() == before
    to_stablehlo(small[0], folder, overwrite=True)
    assert load_stablehlo(folder).manifest["about"] == {}


def test_without_flatbuffers_an_error_names_the_extra(small, whole, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[export\]'"):
        to_stablehlo(small[0], tmp_path / "out")
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[export\]'"):
        load_stablehlo(whole)
