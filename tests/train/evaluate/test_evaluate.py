"""train.evaluate: the measures of a checkpoint on a split or on a user's images."""

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from ml_collections import ConfigDict
from PIL import Image

from tests.train.evaluate.test_sums import compute_calibration
from tests.train.helpers import limit_devices, make_program_on, read_contents
from tests.train.tiny_finished import TEST_IMAGES, TRAIN_IMAGES
from train import data
from train.data.dataset import ArraySplit
from train.evaluate import measure
from train.evaluate.__main__ import main
from train.program import build
from train.program.inputs import make_normalize
from train.run import restore
from train.run.reading import load_run_config

HERE = "--cpu-devices=4"  # Pytest's process has four devices, and their number cannot change.


@pytest.fixture(scope="module")
def workdir(finished_run, tmp_path_factory) -> Path:
    """Return a copy of a finished run, to which evaluations are added."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "found.json"


@pytest.fixture(autouse=True)
def no_figures(monkeypatch) -> None:
    """Write empty figures, except for the fixture `evaluated`: drawing takes longer than a test."""
    monkeypatch.setattr("train.figures.evaluation", lambda *_: Figure())


@pytest.fixture(autouse=True)
def one_device():
    with limit_devices(1):
        yield


def run(*args: object) -> int:
    return main(["evaluate", HERE, *map(str, args)])


def run_refused(capsys, *args: object) -> str:
    """Run the program with a mistake; return its error, and check that it printed no results."""
    capsys.readouterr()
    assert run(*args) == 2
    printed, said = capsys.readouterr()
    assert said.startswith("error: ") and "Traceback" not in said
    assert "accuracy" not in printed
    return said


class Evaluated(NamedTuple):
    """The output of an evaluation, and the files of the run before and after it."""

    printed: str
    before: dict[str, tuple[bytes, int]]
    after: dict[str, tuple[bytes, int]]


@pytest.fixture(scope="module")
def evaluated(workdir) -> Evaluated:
    """Evaluate a run with the default options."""
    before, printed = read_contents(workdir), io.StringIO()
    with limit_devices(1), contextlib.redirect_stdout(printed):
        assert run("--workdir", workdir) == 0
    return Evaluated(printed.getvalue(), before, read_contents(workdir))


@pytest.fixture(scope="module")
def found(evaluated) -> dict:
    """Return the results on the test images."""
    return json.loads(evaluated.after["evaluation/last_test.json"][0])


@pytest.fixture(scope="module")
def scores(workdir) -> tuple[np.ndarray, np.ndarray]:
    """Return the logits of every test image, averaged over time, and the labels.

    The network is called with one image at a time.
    """
    config = load_config(workdir)
    dataset = data.load(**config.data)
    state = restore.load_state(workdir, "last", make_program_on(1, config).abstract_state)
    model, normalize = build.make_network(config, dataset), make_normalize(dataset)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    apply = jax.jit(lambda image: model.apply(variables, normalize(image[None]))[0].mean(axis=0))
    return np.stack([apply(image) for image in dataset.test.images]), dataset.test.labels


def load_config(workdir: Path) -> ConfigDict:
    return ConfigDict(json.loads((workdir / "config.json").read_text()))


def test_the_last_checkpoint_has_the_accuracy_of_training(workdir, found):
    summary = json.loads((workdir / "summary.json").read_text())
    record = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert found["accuracy"] == summary["last_accuracy"] == record["test_accuracy"] > 0.2
    assert found["loss"] == pytest.approx(record["test_loss"], rel=1e-6)
    assert found["step"] == record["step"] and found["checkpoint"] == "last"
    assert list(found["rates"]) == list(summary["rates"])
    for layer, rates in summary["rates"].items():
        assert found["rates"][layer] == pytest.approx(rates, rel=1e-6)


@pytest.mark.parametrize("name", ["found.json", "found.png"])
@pytest.mark.parametrize("content", ["mine", '{"accuracy": 1.0}', "folder", "link"])
def test_files_that_are_no_evaluations_are_never_overwritten(workdir, out, capsys, name, content):
    file = out.with_name(name)
    if content == "folder":
        file.mkdir()
    elif content == "link":
        file.symlink_to("gone")
    else:
        file.write_text(content)
    args = ("--workdir", workdir, "--out", out)
    assert f"{file} exists; choose another --out or give --ov" in run_refused(capsys, *args)
    message = run_refused(capsys, *args, "--overwrite")
    assert f"{file} was not written by this program and is not replaced; choose ano" in message
    assert [path.name for path in out.parent.iterdir()] == [name]
    assert content in ("folder", "link") or file.read_text() == content


def test_the_best_checkpoint_has_the_best_accuracy_and_overwrites_on_request(
    workdir, found, out, capsys
):
    out.write_text(json.dumps(found))
    out.with_suffix(".png").write_bytes(b"old")
    args = ("--workdir", workdir, "--checkpoint", "best", "--out", out)
    message = run_refused(capsys, *args)
    assert f"{out} exists; choose another --out or give --overwrite" in message
    assert json.loads(out.read_text()) == found
    assert run(*args, "--overwrite") == 0
    summary = json.loads((workdir / "summary.json").read_text())
    assert json.loads(out.read_text())["accuracy"] == summary["best_accuracy"]


def test_the_validation_split_of_a_run_without_one_is_refused(workdir, out, capsys):
    message = run_refused(capsys, workdir, "--split", "validation", "--out", out)
    assert "this run has no validation images: its config.data.validation is not set" in message
    assert not out.exists()


def test_top_five_likelihood_and_confusion_agree_with_the_logits(found, scores):
    logits, labels = scores
    rank = np.argsort(np.argsort(-logits, axis=1), axis=1)[np.arange(len(labels)), labels]
    assert found["top5_accuracy"] == np.mean(rank < 5)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    expected = -log_softmax[np.arange(len(labels)), labels].mean()
    assert found["negative_log_likelihood"] == pytest.approx(expected, rel=1e-5)
    confusion = np.zeros((10, 10), int)
    for label, answer in zip(labels, logits.argmax(axis=1), strict=True):
        confusion[label, answer] += 1
    assert found["confusion"] == confusion.tolist()
    assert found["accuracy_of_class"] == (np.diag(confusion) / confusion.sum(axis=1)).tolist()


def test_calibration_agrees_with_numpy(found, scores):
    logits, labels = scores
    error, images = compute_calibration(logits, labels)
    assert found["calibration"]["error"] == pytest.approx(error, rel=1e-5)
    assert [each["images"] for each in found["calibration"]["bins"]] == images


def test_training_images_are_measured_without_augmentation(workdir, out):
    assert run("--workdir", workdir, "--split", "train", "--out", out) == 0
    other = json.loads(out.read_text())
    assert other["images"] == np.sum(other["confusion"]) == TRAIN_IMAGES
    assert other["split"] == "train"
    # Neither augmented nor in training mode.
    recorded = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert other["loss"] != recorded[-1]["train_loss"]


@pytest.mark.parametrize(
    "size",
    [
        TEST_IMAGES + 8,  # Larger than the split, and not a multiple of `accumulate`.
        *(pytest.param(size, marks=pytest.mark.slow) for size in (12, TRAIN_IMAGES + 100)),
    ],
)
def test_padding_batch_size_and_accumulate_do_not_change_results(workdir, found, size):
    config = load_run_config(workdir)
    config.batch_size, config.accumulate = size, 7
    other = measure.evaluate(config, workdir, "last", "test")
    for key in ("accuracy", "top5_accuracy", "confusion", "accuracy_of_class"):
        assert other[key] == found[key]
    assert other["calibration"]["error"] == pytest.approx(found["calibration"]["error"], rel=1e-5)


def test_only_the_evaluation_folder_is_added_to_a_run(evaluated):
    new = {"evaluation", "evaluation/last_test.json", "evaluation/last_test.png"}
    assert set(evaluated.after) - set(evaluated.before) == new
    kept = set(evaluated.before) - {"."}
    assert {p: evaluated.after[p] for p in kept} == {p: evaluated.before[p] for p in kept}


def test_a_figure_is_written_next_to_the_numbers(evaluated):
    with Image.open(io.BytesIO(evaluated.after["evaluation/last_test.png"][0])) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.shape[1] == 1650 and 0.005 < (pixels < 128).mean() < 0.5


def test_the_printed_tables_agree_with_the_file(evaluated, found):
    for share in (found["accuracy"], found["top5_accuracy"], found["calibration"]["error"]):
        assert f"│ {share:.2%}" in evaluated.printed
    for layer, rates in found["rates"].items():
        line = next(line for line in evaluated.printed.splitlines() if f"│ {layer} " in line)
        assert all(f"{rate:.1%}" in line for rate in rates)


def write_images(folder: Path, names: list[str]) -> Path:
    """Write the test images of the tiny run, a folder for each class."""
    test = data.load("synthetic", num_train=1, num_test=40).test
    for i, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(place / f"{i}.png")
    return folder


def test_the_same_images_in_folders_have_the_same_results_without_the_data(
    workdir, found, tmp_path, out, monkeypatch
):
    folder = write_images(tmp_path / "own", [f"class{k}" for k in range(10)])
    monkeypatch.setattr("train.evaluate.measure.data.load", None)
    assert run("--workdir", workdir, "--folder", folder, "--out", out) == 0
    other = json.loads(out.read_text())
    assert "the order of their names determines the labels: class0 is 0, class1" in other["note"]
    for key in ("accuracy", "confusion", "images"):
        assert other[key] == found[key]


def test_images_of_a_folder_named_like_a_split_never_get_its_file(
    workdir, evaluated, tmp_path, monkeypatch, capsys
):
    def evaluate(config, workdir, checkpoint, split, folder):
        found = json.loads((tmp_path / "found.json").read_text())
        return found | {"split": str(folder.resolve()) if folder else split}

    run_dir = shutil.copytree(workdir, tmp_path / "run")
    shutil.copy(next((run_dir / "evaluation").glob("last_test.json")), tmp_path / "found.json")
    shutil.rmtree(run_dir / "evaluation")
    monkeypatch.setattr("train.evaluate.__main__.evaluate", evaluate)
    folders = [
        tmp_path / name for name in ("own/test", "own/train", "other/test", "a$[1]", "é" * 90)
    ]
    for folder in folders:
        folder.mkdir(parents=True)
        assert run(run_dir, "--folder", folder) == 0
    assert run(run_dir) == run(run_dir, "--split", "train") == 0
    written = {file.name: file for file in (run_dir / "evaluation").glob("*.json")}
    assert len(written) == len(folders) + 2
    for split in ("test", "train"):
        assert json.loads(written[f"last_{split}.json"].read_text())["split"] == split
    assert run(run_dir, "--folder", folders[0]) == 2  # Its own file exists now.
    monkeypatch.chdir(folders[0])
    assert run(run_dir, "--folder", ".") == 2


def test_a_wrong_number_of_class_folders_is_refused(workdir, tmp_path, out, capsys):
    folder = write_images(tmp_path / "own", ["a", "b"] * 5)
    message = run_refused(capsys, "--workdir", workdir, "--folder", folder, "--out", out)
    assert "has 2 folders, but the network has 10 classes" in message
    assert not out.exists()


def test_an_unreadable_image_is_named(workdir, tmp_path, out, capsys):
    folder = write_images(tmp_path / "own", [f"class{k}" for k in range(10)])
    (folder / "class3" / "broken.png").write_bytes(b"no image")
    message = run_refused(capsys, "--workdir", workdir, "--folder", folder, "--out", out)
    assert "class3/broken.png is not a complete image" in message


@pytest.mark.parametrize("where", ["weights", "samples"])
def test_a_loss_that_is_not_finite_is_blamed_on_what_is_not_finite(
    workdir, out, capsys, monkeypatch, where
):
    read, load = restore.read_state, data.load

    def read_broken(*args):
        state = read(*args)
        return state.replace(params=jax.tree.map(lambda leaf: leaf * np.nan, state.params))

    def load_broken(**options):
        dataset = load(**options)
        images = dataset.test.images.astype(np.float32) * np.nan
        return replace(dataset, mean=(), test=ArraySplit(images, dataset.test.labels))

    if where == "weights":
        monkeypatch.setattr("train.run.restore.read_state", read_broken)
    else:
        monkeypatch.setattr("train.evaluate.measure.data.load", load_broken)
        monkeypatch.setattr("train.evaluate.measure.check_data", lambda *_: None)
    said = run_refused(capsys, workdir, "--out", out)
    assert "the loss is nan" in said and not out.exists()
    advice = {"weights": "is not finite. Try the other --checkpoint", "samples": "look for samples"}
    assert advice[where] in said


@pytest.mark.parametrize("kind", ["missing", "empty", "flat"])
def test_a_folder_without_images_is_refused(workdir, tmp_path, out, capsys, kind):
    folder = tmp_path / "own"
    if kind != "missing":
        folder.mkdir()
    if kind == "flat":
        Image.new("L", (8, 8)).save(folder / "a.png")
    message = run_refused(capsys, "--workdir", workdir, "--folder", folder, "--out", out)
    expected = "there is no folder" if kind == "missing" else "expected a folder for each of two"
    assert expected in message and str(folder) in message


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert "is not the folder of a run: it has no config.json" in run_refused(
        capsys, "--workdir", tmp_path
    )
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint_is_refused(workdir, tmp_path, out, capsys):
    (tmp_path / "config.json").write_text((workdir / "config.json").read_text())
    message = run_refused(capsys, "--workdir", tmp_path, "--out", out)
    assert f"{tmp_path / 'last'} has no checkpoint yet" in message


def test_a_damaged_checkpoint_is_named(workdir, tmp_path, out, capsys):
    shutil.copytree(workdir, tmp_path / "run")
    step = restore.find_checkpoint(tmp_path / "run", "last")
    file = max((step / "state").rglob("*"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    message = run_refused(capsys, "--workdir", tmp_path / "run", "--out", out)
    assert (
        f"the checkpoint {step} is damaged: " in message
        and "has changed since it was written" in message
    )


@pytest.mark.parametrize(
    "args, complaint",
    [
        (("--checkpoint", "worst"), "invalid choice: 'worst'"),
        (("--split", "valid"), "invalid choice: 'valid'"),
        (("--split", "train", "--folder", "."), "--folder has no splits"),
        (("--out", "a.txt"), "--out must end in .json, got a.txt"),
        (("--batch-size", "0"), "--batch-size must be at least 1, got 0"),
        (
            ("--overwrite", "--batch-size", "1000000000"),
            "batches of 1,000,000,000 samples need at least",
        ),
        (
            ("--overwrite", "--batch-size", "1000000000", "--cpu-devices", "100000"),
            "--cpu-devices must be at most 1024, got 100000",
        ),
        (("--verbose",), "there is no option --verbose; see --help"),
    ],
)
def test_a_wrong_command_is_refused_with_the_reason(workdir, capsys, args, complaint):
    assert complaint in run_refused(capsys, "--workdir", workdir, *args)


def test_help_shows_the_usage(capsys):
    assert main(["evaluate", "--help"]) == 0
    printed = capsys.readouterr().out
    for flag in ("--workdir", "--checkpoint", "--split", "--folder", "--out", "--data-dir"):
        assert flag in printed
