"""train.export: a program that is verified on the test samples, or nothing is written."""

import argparse
import contextlib
import copy
import io
import itertools
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.artifact import MANIFEST, MANIFEST_HASH
from pit_jax.export import load_stablehlo
from pit_jax.inference import Report, SpikingProgram, load
from pit_jax.inference.runtime.pixels import Normalization
from tests.train.helpers import read_contents
from tests.train.tiny_finished import EPOCHS, STEPS_PER_EPOCH
from train import data
from train.data.dataset import ArraySplit, Dataset, DiskSplit
from train.errors import UserError
from train.export import compile_run
from train.export.__main__ import FORMATS, choose_input, main, name_output
from train.program import build
from train.program.inputs import make_normalize
from train.run import restore
from train.run.reading import load_run_config


class Compiled(NamedTuple):
    """The program of the last checkpoint with the default options, and its report."""

    program: SpikingProgram
    report: Report


class Exported(NamedTuple):
    """The folder of the first export, the output of the command, and what it compiled."""

    folder: Path
    printed: str
    compiled: Compiled


@pytest.fixture(scope="module")
def workdir(finished_run, tmp_path_factory) -> Path:
    """Return a copy of a finished run, to which exports are added."""
    return shutil.copytree(finished_run, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def dataset(workdir) -> Dataset:
    return data.load(**load_run_config(workdir).data)


@pytest.fixture(scope="module")
def export(workdir) -> Exported:
    """Export the run with the default options; check that no other file of the run has changed."""
    before, printed, made = read_contents(workdir), io.StringIO(), []

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            made.append(function(*args, **options))
            return made[-1]

        return call

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        for name in ("compile_checkpoint", "verify_program"):
            patch.setattr(compile_run, name, keep(getattr(compile_run, name)))
        assert run("--workdir", workdir, "--format", "directory") == 0
    after = read_contents(workdir)
    kept = before.keys() - {"."}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert all(name == "export" or name.startswith("export/") for name in after.keys() - before)
    folder = workdir / "export" / "last_directory"
    return Exported(folder, printed.getvalue(), Compiled(*made))


@pytest.fixture
def exported(export) -> Path:
    return export.folder


@pytest.fixture
def compiled_once(export, monkeypatch) -> Compiled:
    """Let the command take the program and the report of the first export."""
    monkeypatch.setattr(compile_run, "compile_checkpoint", lambda *_, **__: export.compiled.program)
    monkeypatch.setattr(compile_run, "verify_program", lambda *_: export.compiled.report)
    return export.compiled


def run(*args: object) -> int:
    return main(["export", *map(str, args)])


def run_refused(capsys, *args: object) -> str:
    """Run the program with a mistake, and return its error."""
    capsys.readouterr()
    assert run(*args) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


def get_inputs(dataset: Dataset) -> jax.Array:
    """Return the test images as inputs of the network."""
    return make_normalize(dataset)(jnp.asarray(dataset.test.images))


def test_the_program_agrees_with_the_network_of_the_last_checkpoint(workdir, dataset, exported):
    config = load_run_config(workdir)
    program = load(exported)
    variables = jax.tree.map(jnp.asarray, restore.load_variables(workdir, "last"))
    logits = build.make_network(config, dataset).apply(variables, get_inputs(dataset)).mean(axis=1)
    assert np.abs(program(get_inputs(dataset)) - logits).max() < 0.1 * np.abs(logits).max()
    assert program.proof and program.proof.samples == 40 and program.proof.clipped == 0


def test_the_proof_is_written_as_numbers(workdir, dataset, exported):
    proof = json.loads((exported / "proof.json").read_text())
    program = load(exported)
    right = np.mean(np.asarray(program(get_inputs(dataset))).argmax(1) == dataset.test.labels)
    assert proof["equal"] and proof["samples"] == 40
    assert proof["report"]["accuracy"] == right
    assert proof["top1_agreement"] == 1 - proof["report"]["differing"] / 40
    summary = json.loads((workdir / "summary.json").read_text())
    assert proof["report"]["reference_accuracy"] == summary["last_accuracy"]
    assert (proof["checkpoint"], proof["seed"]) == ("last", 3)
    assert proof["step"] == EPOCHS * STEPS_PER_EPOCH


def test_input_and_classes_are_described(dataset, exported):
    about = json.loads((exported / MANIFEST).read_text())["about"]
    assert about["input"] == {
        "shape": ["batch", *dataset.test.shape],
        "dtype": "uint8 or float32",
        "holds": "uint8: pixels 0..255, as they are; float32: (x / 255 - mean) / std of each "
        "channel",
        "mean": list(dataset.mean),
        "std": list(dataset.std),
    }
    assert about["classes"] == [str(k) for k in range(10)]


def test_the_report_is_printed(export):
    assert "synthetic, resnet8, PIT T=2 D=4\nverified on 40 samples: spikes of" in export.printed
    assert "the largest logit of the trained network in" in export.printed
    assert f"written to {export.folder}" in export.printed


def test_int8_weights_and_bitwise_code_of_the_best_checkpoint(workdir, dataset, tmp_path):
    out = tmp_path / "out"
    options = ("--weights", "int8", "--code", "bitwise", "--checkpoint", "best")
    assert run("--workdir", workdir, "--format", "directory", "--out", out, *options) == 0
    program, proof = load(out), json.loads((out / "proof.json").read_text())
    assert all(slots == (1, 2, 4) for slots in map(tuple, map(sorted, program.slots.values())))
    assert (proof["weights"], proof["code"], proof["checkpoint"]) == ("int8", "bitwise", "best")


def test_raw_pixels_give_the_classes_of_the_evaluation(workdir, dataset, compiled_once, exported):
    images, report = dataset.test.images, compiled_once.report
    assert images.dtype == np.uint8
    program = load(exported)
    logits = program(images)
    assert np.array_equal(logits, program.grid(images))
    assert np.array_equal(logits, program(compile_run.normalize_images(dataset, images)))
    config = load_run_config(workdir)
    network = build.make_network(config, dataset)
    variables = jax.tree.map(jnp.asarray, restore.load_variables(workdir, "last"))
    evaluated = jax.jit(lambda x: network.apply(variables, make_normalize(dataset)(x)).mean(axis=1))
    differing = np.argmax(logits, -1) != np.argmax(evaluated(jnp.asarray(images)), -1)
    assert differing.sum() <= report.differing


def test_stablehlo_takes_raw_pixels_or_normalized_inputs(
    workdir, dataset, compiled_once, tmp_path, capsys
):
    program, args = compiled_once.program, ("--workdir", workdir, "--format", "stablehlo", "--out")
    assert run(*args, tmp_path / "pixels") == 0
    loaded, want = load_stablehlo(tmp_path / "pixels"), program.grid(dataset.test.images)
    about = loaded.manifest["about"]["input"]
    assert loaded.manifest["input"]["dtype"] == about["dtype"] == "uint8"
    assert about["holds"].startswith("pixels 0..255, as they are; the program normalizes them")
    assert about["mean"] == [*dataset.mean]
    assert np.array_equal(loaded(dataset.test.images), want)
    assert run(*args, tmp_path / "seen", "--input", "normalized") == 0
    seen, x = load_stablehlo(tmp_path / "seen"), program.normalize(dataset.test.images)
    assert seen.manifest["about"]["input"]["holds"].startswith("pixels 0..255 as (x / 255 - mean)")
    assert np.array_equal(seen(x), want)
    # The old form of `--input pixels`.
    said = run_refused(capsys, *args, tmp_path / "pixels", "--pixels")
    assert "already exists" in said


def test_a_sample_of_floats_has_no_raw_pixels():
    def choose(dtype: str, kind: str, given: str | None = None) -> str:
        test = SimpleNamespace(dtype=np.dtype(dtype))
        args = argparse.Namespace(format=kind, input=given)
        return choose_input(args, SimpleNamespace(test=test, name="mine"))

    assert choose("uint8", "onnx") == choose("uint8", "stablehlo", "pixels") == "pixels"
    assert choose("uint8", "stablehlo", "normalized") == "normalized"
    assert choose("uint8", "directory") == "both" and choose("uint8", "nir") == "normalized"
    assert choose("float32", "onnx") == choose("uint16", "stablehlo") == "normalized"
    with pytest.raises(UserError, match="--input pixels needs uint8 data; the samples of mine are"):
        choose("uint16", "onnx", "pixels")


def test_the_normalization_of_a_data_set_is_passed_to_the_program():
    def find(dtype: str, mean: tuple[float, ...] = ()) -> Normalization | None:
        split = ArraySplit(np.zeros((1, 2, 2, 1), dtype), np.zeros(1, np.int32))
        return compile_run.find_normalization(Dataset("x", split, split, 2, mean, mean))

    assert find("uint8", (0.5,)) == Normalization((0.5,), (0.5,))
    assert find("uint8") == find("uint16") == Normalization() and find("float32") is None


def test_every_format_gets_a_manifest_with_hashes(workdir, compiled_once, tmp_path, monkeypatch):
    def to_onnx(program: SpikingProgram, path: Path, *, frames: bool, input: str) -> None:
        assert (frames, input) == (False, "pixels")
        path.write_bytes(b"an ONNX file")

    monkeypatch.setattr("pit_jax.export.to_onnx", to_onnx)
    monkeypatch.setitem(FORMATS, "onnx", ("json", "onnx"))
    out = tmp_path / "out"
    assert run("--workdir", workdir, "--format", "onnx", "--out", out) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == [MANIFEST, MANIFEST_HASH, "program.onnx", "proof.json"]
    assert json.loads((out / MANIFEST).read_text())["about"]["classes"][3] == "3"


def test_a_network_that_nir_cannot_express_is_refused_before_the_verification(
    workdir, compiled_once, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(compile_run, "verify_program", None)
    said = run_refused(capsys, "--workdir", workdir, "--format", "nir", "--out", tmp_path / "out")
    assert "NIR" in said and "Choose --format stablehlo, onnx or directory." in said
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named(workdir, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    said = run_refused(
        capsys, "--workdir", workdir, "--format", "stablehlo", "--out", tmp_path / "out"
    )
    assert "--format stablehlo needs flatbuffers: pip install 'pit-jax[train]'" in said


def test_a_program_that_is_not_equal_is_not_written(
    workdir, compiled_once, tmp_path, capsys, monkeypatch
):
    report = copy.copy(compiled_once.report)
    report.logits_equal = False
    monkeypatch.setattr(compile_run, "verify_program", lambda *_: report)
    said = run_refused(
        capsys, "--workdir", workdir, "--format", "directory", "--out", tmp_path / "out"
    )
    assert "the program differs from the quantized network, so nothing is written" in said
    assert list(tmp_path.iterdir()) == []


def test_an_existing_export_is_replaced_only_with_overwrite(
    workdir, exported, compiled_once, tmp_path, capsys
):
    out = shutil.copytree(exported, tmp_path / "out")
    (out / "proof.json").write_text("old")
    args = ("--workdir", workdir, "--format", "directory", "--out", out)
    assert f"{out} already exists" in run_refused(capsys, *args)
    assert (out / "proof.json").read_text() == "old"
    assert run(*args, "--overwrite") == 0
    assert json.loads((out / "proof.json").read_text())["equal"]


def test_the_commit_of_training_is_the_one_of_the_checkpoint(workdir, compiled_once, tmp_path):
    """Resume a run with other code, whose commit is added to its folder."""
    there = shutil.copytree(workdir, tmp_path / "run")
    starts = json.loads((there / "environment.json").read_text())
    later = [*starts, starts[-1] | {"commit": "later"}]
    (there / "environment.json").write_text(json.dumps(later))
    out = tmp_path / "out"
    assert run("--workdir", there, "--format", "directory", "--out", out) == 0
    proof = json.loads((out / "proof.json").read_text())
    assert proof["commit_of_training"] == starts[-1]["commit"] != "later"


def test_a_network_without_spikes_is_refused_with_the_reason(
    workdir, tmp_path, monkeypatch, capsys
):
    # Instead of a run with this neuron, which would have to train.
    monkeypatch.setattr("train.run.restore.compare_configs", lambda *_: {})
    shutil.copytree(workdir, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    config = json.loads((workdir / "config.json").read_text())
    config["neuron"] = {"name": "ReLU"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    said = run_refused(capsys, "--workdir", tmp_path / "run", "--format", "directory")
    assert "resnet8 cannot be a spiking program: " in said
    assert "a ReLU, which sends no spikes" in said


@pytest.mark.parametrize(
    "args, says",
    [
        (("--format", "directory"), "give the folder of a run: RUN"),
        (("--workdir", "x"), "the following arguments are required: --format"),
        (("--workdir", "x", "--format", "tf"), "invalid choice: 'tf'"),
        (("--workdir", "x", "--format", "nir", "--input", "pixels"), "for --format stablehlo and"),
        (("--workdir", "x", "--format", "directory", "--pixels"), "--input is only for --format"),
        (("--workdir", "x", "--format", "onnx", "--input", "raw"), "invalid choice: 'raw'"),
        (("--workdir", "nowhere", "--format", "nir"), "nowhere is not the folder of a run"),
    ],
)
def test_a_mistake_in_the_command_is_reported(capsys, args, says):
    assert says in run_refused(capsys, *args)


def test_help_lists_the_options(capsys):
    assert run("--help") == 0
    printed = capsys.readouterr().out
    for flag in ("--workdir", "--format", "--weights", "--code", "--input", "--overwrite"):
        assert flag in printed


def test_the_largest_input_covers_all_data():
    images = np.zeros((4, 2, 2, 1), np.uint8)
    split = ArraySplit(images, np.zeros(4, np.int32))
    assert compile_run.find_largest_input(Dataset("x", split, split, 2, (0.25,), (0.5,))) == 1.5
    assert compile_run.find_largest_input(Dataset("x", split, split, 2, (0.75,), (0.5,))) == 1.5
    frames = np.zeros((4, 3, 2, 2, 2), np.uint8)
    more = frames.copy()
    more[1, 2, 0, 0, 1] = 9
    both = ArraySplit(frames, split.labels), ArraySplit(more, split.labels)
    assert compile_run.find_largest_input(Dataset("x", *both, 2)) == 9
    on_disk = DiskSplit((4,), (3, 2, 2, 2), lambda i, rng: (frames[i], 0), 0, lambda: None)
    assert compile_run.find_largest_input(Dataset("x", on_disk, on_disk, 2)) is None


def test_samples_on_disk_are_verified_like_those_in_memory(workdir, dataset, exported):
    test = dataset.test
    on_disk = DiskSplit(
        per_class=(4,) * 10,
        shape=test.shape,
        read=lambda i, rng: (test.images[i], test.labels[i]),
        workers=0,
        verify=lambda: None,
    )
    config = load_run_config(workdir)
    config.batch_size = 12  # The last batch is padded, and padding is no sample.
    there = Dataset("x", on_disk, on_disk, 10, dataset.mean, dataset.std)
    program = load(exported)
    report = compile_run.verify_program(program, config, there)
    assert report.samples == 40 and report.accuracy == program.proof.accuracy


def test_the_batch_size_divides_the_samples_if_possible():
    def size(most: int, samples: int) -> int:
        test = ArraySplit(np.zeros((samples, 1)), np.zeros(samples, np.int32))
        config, dataset = SimpleNamespace(batch_size=most), SimpleNamespace(test=test)
        return compile_run.choose_batch_size(config, dataset)

    assert size(64, 360) == 60 and size(128, 10_000) == 125
    assert size(64, 97) == 64 and size(64, 64) == 64 and size(1, 7) == 1
    assert size(10**9, 97) == 97  # At once.


def test_programs_with_other_options_never_get_the_same_folder():
    options = itertools.product(
        ("last", "best"),
        ("directory", "stablehlo", "onnx", "nir"),
        ("float32", "int16", "int8"),
        ("thermometer", "bitwise"),
        (None, "normalized"),
    )
    keys = ("checkpoint", "format", "weights", "code", "input")
    names = [
        name_output(argparse.Namespace(**dict(zip(keys, each, strict=True)))) for each in options
    ]
    assert len(set(names)) == len(names) == 96
    assert names[0] == "last_directory" and "last_onnx_int8_bitwise" in names
