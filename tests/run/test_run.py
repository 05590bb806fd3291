"""A trained network as one object, and the one that the library ships."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import pit_jax
from pit_jax import examples
from pit_jax.examples.stored import FOLDER, read_run, write_run
from pit_jax.inference.runtime.pixels import Normalization
from pit_jax.run import Run, open_run
from train.data import load
from train.program.inputs import make_normalize

ROOT = Path(__file__).parents[2]
# Modules that a user without the extras may not have; Flax needs optax, orbax and rich itself.
EXTRAS = "ml_collections sklearn matplotlib PIL grain safetensors numba jinja2 tensorboardX"


@pytest.fixture(scope="module")
def digits() -> Run:
    return examples.digits()


@pytest.fixture(scope="module")
def test_set(digits) -> tuple[np.ndarray, np.ndarray]:
    return digits.images()


@pytest.mark.parametrize("split, number", [("test", 360), ("train", 1437)])
def test_the_shipped_images_are_those_of_the_trainer(digits, split, number):
    images, labels = digits.images(split)
    there = getattr(load("digits"), split)
    assert images.dtype == np.uint8 and len(images) == number
    np.testing.assert_array_equal(images, there.images)
    np.testing.assert_array_equal(labels, there.labels)
    some, some_labels = digits.images(split, 3)
    np.testing.assert_array_equal(some, images[[0, number // 2, -1]])
    np.testing.assert_array_equal(some_labels, labels[[0, number // 2, -1]])


def test_the_shipped_network_has_its_recorded_accuracy(digits, test_set):
    images, labels = test_set
    probabilities = digits.predict(images)
    assert probabilities.shape == (360, digits.num_classes) == (360, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    assert accuracy == digits.about["test_accuracy"] > 0.98
    assert digits.classes == tuple("0123456789") and type(digits.config) is dict


def test_the_record_of_the_shipped_network_says_how_it_was_made(digits):
    record = json.loads((FOLDER / "digits.json").read_text())
    environment = record["about"]["environment"]
    assert record["about"]["command"].startswith("python -m train.main --config configs/digits.py")
    assert len(environment["commit"]) == 12 and environment["commit"].isalnum()
    assert record["config"]["seed"] == record["about"]["seed"] == 0
    assert digits.config["epochs"] == 30 and digits.about["checkpoint"] == "last"
    size = sum((FOLDER / file).stat().st_size for file in record["sha256"])
    assert size < 900_000


def test_images_are_normalized_as_in_training(digits, test_set):
    found = digits.normalize(test_set[0])
    expected = make_normalize(load("digits"))(test_set[0])
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    # To the bit as compiled programs do it.
    fixed = Normalization(digits.mean, digits.std).normalize(test_set[0])
    np.testing.assert_array_equal(found, fixed)
    assert found.dtype == np.float32
    jitted = jax.jit(digits.normalize)(test_set[0])
    np.testing.assert_allclose(jitted, found, rtol=1e-6, atol=1e-6)


def test_the_answer_for_an_image_does_not_depend_on_the_others(digits, test_set):
    images = test_set[0]
    whole = digits.logits(images)
    np.testing.assert_array_equal(digits.logits(images[70:75]), whole[70:75])
    np.testing.assert_array_equal(digits.logits(images[359:]), whole[359:])
    assert digits.predict(images[:0]).shape == (0, 10)
    one = digits.predict(images[:1], batch_size=1)
    np.testing.assert_allclose(one, digits.predict(images[:1]), atol=1e-5)


def test_the_logits_are_those_of_the_network(digits, test_set):
    images = test_set[0][:8]
    apply = jax.jit(digits.model.apply)
    expected = apply(digits.variables, digits.normalize(images)).mean(axis=1)
    np.testing.assert_allclose(digits.logits(images), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        digits.predict(images), jax.nn.softmax(expected), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda x: x[0], r"must be \[B, 8, 8, 1\], got the shape \(8, 8, 1\). Add an axis for the"),
        (
            lambda x: x[..., 0],
            r"got the shape \(360, 8, 8\). Add an axis for the channel: images\[",
        ),
        (lambda x: x[:, :4], r"must be \[B, 8, 8, 1\], got the shape \(360, 4, 8, 1\)."),
        (lambda x: x / 255, "must be uint8, 0 to 255, as run.images returns them; got float64"),
        (lambda x: x.astype(int), "must be uint8, 0 to 255.*got int64. Convert pixels of 0 to 255"),
        (lambda x: "images", "must be an array of real numbers"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "logits", "normalize", "compile"])
def test_other_images_are_refused(digits, test_set, method, change, complaint):
    with pytest.raises(ValueError, match=complaint):
        getattr(digits, method)(change(test_set[0]))


def test_other_splits_and_numbers_are_refused(digits, test_set):
    with pytest.raises(ValueError, match="split must be test or train, got 'validation'"):
        digits.images("validation")
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        digits.images("test", 0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got -2"):
        digits.predict(test_set[0], batch_size=-2)


def test_a_run_prints_what_it_is(digits):
    printed = str(digits)
    assert repr(digits) == printed and printed.startswith("digits, resnet8, PIT T=1 D=4\n")
    assert "checkpoint  last, step" in printed and "uint8 images [B, 8, 8, 1]" in printed
    assert "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in printed and "174,394" in printed


def test_a_written_run_is_read_with_the_same_bits(digits, test_set, tmp_path):
    files = write_run(digits, "again", "From a test.", tmp_path)
    assert [file.name for file in files] == ["again.npz", "again_images.npz", "again.json"]
    again = read_run("again", tmp_path)
    assert again.config == digits.config and again.about == digits.about
    assert jax.tree.all(jax.tree.map(np.array_equal, again.variables, digits.variables))
    np.testing.assert_array_equal(again.predict(test_set[0]), digits.predict(test_set[0]))


def test_changed_weights_are_refused(digits, tmp_path):
    write_run(digits, "again", "From a test.", tmp_path)
    content = bytearray((tmp_path / "again.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "again.npz").write_bytes(content)
    with pytest.raises(ValueError, match="again.npz was changed after it was written"):
        read_run("again", tmp_path)


@pytest.mark.slow
def test_the_program_takes_raw_and_normalized_images(digits, test_set):
    images = test_set[0][:16]
    program = digits.compile(images)
    logits = program(images)
    assert program.proof
    np.testing.assert_array_equal(logits, program(digits.normalize(images)))
    assert (logits.argmax(-1) == digits.logits(images).argmax(-1)).mean() > 0.9


CODE = f"""
import sys
for name in {EXTRAS!r}.split():
    sys.modules[name] = None
import pit_jax
from pit_jax.examples import digits
run = digits()
images, labels = run.images()
print((run.predict(images).argmax(-1) == labels).mean() > 0.98)
try:
    pit_jax.run.open_run("nowhere")
except ImportError as error:
    print(error)
"""


def test_the_shipped_network_needs_the_libraries_dependencies_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=tmp_path,
        env={"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    right, refused = done.stdout.splitlines()
    assert right == "True" and done.stderr == ""
    assert refused.startswith("open_run needs ")
    assert refused.endswith(", which is not installed: pip install 'pit-jax[train]'.")


def test_a_folder_without_a_run_and_unknown_checkpoints_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is not the folder of a run: it has no config.json"):
        open_run(tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be best or last, got 'newest'"):
        open_run(tmp_path, "newest")
    with pytest.raises(ValueError, match="folder must be a path, got the address 's3://bucket'"):
        open_run("s3://bucket")
    with pytest.raises(ValueError, match="data_dir must be a path, got an empty text"):
        open_run(tmp_path, data_dir="")
    assert pit_jax.run.open_run is open_run
