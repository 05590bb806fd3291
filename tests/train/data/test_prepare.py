"""Convert ImageNet from every layout: exact, resumed after a kill, refused if damaged."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.train.helpers import ROOT, read_contents
from tests.train.imagenet_files import (
    CLASSES,
    DEVKIT,
    TESTED,
    drop_names,
    make_devkit,
    make_jpeg,
    make_tar,
    make_training_images,
    make_validation_images,
    read_stored,
    run_prepare,
    run_refused_prepare,
    write_archives,
    write_folders,
    write_prepared,
)
from train.data import prepare
from train.data.imagenet import array_records
from train.data.imagenet import source as imagenet_source

pytest.importorskip("array_record")
TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Make three files of training images and two of validation images."""
    monkeypatch.setattr(imagenet_source, "CLASSES_A_SHARD", 1)
    monkeypatch.setattr(imagenet_source, "IMAGES_A_SHARD", 3)


@pytest.fixture
def source(tmp_path):
    return write_archives(tmp_path / "source")


def test_images_of_the_official_archives_are_stored_unchanged(source, tmp_path, capsys):
    before = read_contents(source)
    assert run_prepare(source, tmp_path / "out") == 0
    assert read_stored(tmp_path / "out", "train") == drop_names(make_training_images())
    # In the order of the archive.
    assert read_stored(tmp_path / "out", "test") == drop_names(reversed(make_validation_images()))
    assert read_contents(source) == before
    printed = capsys.readouterr().out
    assert "train: 16 images in 3 files" in printed and "test: 5 images in 2 files" in printed


def test_the_manifest_has_counts_and_hashes_of_every_file(source, tmp_path):
    out = tmp_path / "out"
    run_prepare(source, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["classes"] == list(CLASSES) and manifest["complete"]
    counts = {"train": Counter(), "test": Counter()}
    for name, about in manifest["shards"].items():
        raw = (out / name).read_bytes()
        assert about["sha256"] == hashlib.sha256(raw).hexdigest() and about["bytes"] == len(raw)
        assert about["records"] == sum(about["per_class"].values())
        counts[about["split"]].update(about["per_class"])
    assert counts["train"] == {"0": 5, "1": 4, "2": 7}
    assert counts["test"] == {str(label): count for label, count in Counter(TESTED).items()}
    files = {path.name for path in out.iterdir()}
    assert files == {"manifest.json", *manifest["files"]} and len(files) == 6


def test_images_in_folders_are_stored_unchanged(tmp_path):
    assert run_prepare(write_folders(tmp_path / "source"), tmp_path / "out") == 0
    assert read_stored(tmp_path / "out", "train") == drop_names(make_training_images())
    by_class = sorted(make_validation_images(), key=lambda image: image[:2])
    assert read_stored(tmp_path / "out", "test") == drop_names(by_class)


def test_images_prepared_by_tfds_are_stored_without_decoding(tmp_path):
    pytest.importorskip("tensorflow_datasets")
    assert run_prepare(write_prepared(tmp_path / "source"), tmp_path / "out") == 0
    assert read_stored(tmp_path / "out", "train") == drop_names(make_training_images())
    assert read_stored(tmp_path / "out", "test") == drop_names(make_validation_images())
    manifest = array_records.read_manifest(tmp_path / "out")
    assert manifest["classes"] == list(CLASSES) and manifest["source"] == "tfds 5.1.0"


@pytest.mark.parametrize("how", ["list", "extracted devkit", "flat folder"])
def test_validation_labels_are_read_from_any_usual_place(tmp_path, how):
    source = write_archives(tmp_path / "source", devkit=how != "list")
    if how == "extracted devkit":
        (source / f"{DEVKIT}.tar.gz").unlink()
        for name, content in make_devkit().items():
            path = source / DEVKIT / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if how == "flat folder":
        write_folders(source)
        for name in (TRAIN, VAL):
            (source / name).unlink()
        for path in list((source / "val").rglob("*.JPEG")):
            path.rename(source / "val" / path.name)
        for name in CLASSES:
            (source / "val" / name).rmdir()
    assert run_prepare(source, tmp_path / "out") == 0
    assert sorted(read_stored(tmp_path / "out", "test")) == sorted(
        drop_names(make_validation_images())
    )


def test_two_workers_write_the_files_of_one(source, tmp_path):
    assert (
        run_prepare(source, tmp_path / "one")
        == run_prepare(source, tmp_path / "two", workers=2)
        == 0
    )
    ones = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.array_record")}
    assert len(ones) == 5
    for name, raw in ones.items():
        assert (tmp_path / "two" / name).read_bytes() == raw
    assert read_stored(tmp_path / "two", "train") == drop_names(make_training_images())


def test_size_shrinks_only_larger_images(tmp_path):
    source = write_folders(tmp_path / "source")
    small = source / "train" / CLASSES[0] / "small.JPEG"
    small.write_bytes(make_jpeg(9, size=(20, 10)))
    assert run_prepare(source, tmp_path / "out", "--size", "15") == 0
    images = read_stored(tmp_path / "out", "train")
    sizes = [Image.open(io.BytesIO(content)).size for _, content in images]
    assert Counter(sizes) == {(20, 15): 16, (20, 10): 1}
    assert (0, small.read_bytes()) in images


def start_conversion_of_one_shard(source, out):
    """Start a conversion in another process, which waits forever at the first manifest entry."""
    program = (
        "import json, pathlib, sys, time; from train.data import prepare\n"
        "from train.data.imagenet import array_records as records, source as imagenet_source\n"
        "imagenet_source.CLASSES_A_SHARD, imagenet_source.IMAGES_A_SHARD = 1, 3\n"
        "check, manifest = records.check_image, pathlib.Path(sys.argv[5]) / 'manifest.json'\n"
        "def check_or_stop(*args):\n"
        "    if json.loads(manifest.read_text())['shards']: time.sleep(600)\n"
        "    check(*args)\n"
        "records.check_image = check_or_stop\n"
        "sys.exit(prepare.main(sys.argv))"
    )
    command = ["imagenet", "--source", str(source), "--out", str(out), "--workers", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", program, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def list_finished(out: Path) -> dict[str, Any]:
    manifest = out / "manifest.json"
    return json.loads(manifest.read_text())["shards"] if manifest.exists() else {}


def test_a_killed_conversion_resumes_and_repeats_no_shard(source, tmp_path):
    out = tmp_path / "out"
    process = start_conversion_of_one_shard(source, out)
    while not list_finished(out) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(array_records.UserError, match="is not finished"):
        array_records.read_manifest(out)
    begun = {path.name: path.stat().st_mtime_ns for path in out.glob("*.array_record")}
    finished = list_finished(out)
    assert run_prepare(source, out) == 0
    assert len(finished) == 1 and not list(out.glob("*.part"))
    for name in finished:
        assert (out / name).stat().st_mtime_ns == begun[name]
    assert read_stored(out, "train") == drop_names(make_training_images())


def test_repeating_the_command_on_a_finished_folder_checks_hashes(source, tmp_path, capsys):
    out = tmp_path / "out"
    run_prepare(source, out)
    before = {path: path.read_bytes() for path in out.glob("*.array_record")}
    assert run_prepare(source, out) == 0
    shard = sorted(before)[2]
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(raw)
    message = run_refused_prepare(capsys, source, out)
    assert str(shard) in message and hashlib.sha256(raw).hexdigest() in message
    assert "Delete this file" in message and shard.read_bytes() == raw
    shard.unlink()
    assert run_prepare(source, out) == 0
    assert {path: path.read_bytes() for path in out.glob("*.array_record")} == before


@pytest.mark.parametrize("lost", [1, 1024, 3000])
@pytest.mark.parametrize("name", [TRAIN, VAL])
def test_the_error_for_a_truncated_archive_has_the_offset(source, tmp_path, capsys, name, lost):
    file = source / name
    raw = file.read_bytes()[: -lost - 512]
    file.write_bytes(raw)
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert f"{file}: it is truncated" in message and f"byte {len(raw)}" in message
    assert "Fetch it again" in message and not (tmp_path / "out").exists()
    assert file.read_bytes() == raw


def test_the_error_for_a_truncated_inner_archive_has_the_offset(source, tmp_path, capsys):
    inner = {f"{name}.tar": make_tar({f"{name}_0.JPEG": make_jpeg(0)}) for name in CLASSES}
    inner["n02105855.tar"] = inner["n02105855.tar"][:1500]
    (source / TRAIN).write_bytes(make_tar(inner))
    end = 512 + len(inner["n01440764.tar"]) + 512 + 1500
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert f"{source / TRAIN}: it is truncated" in message
    assert "n02105855_0.JPEG" in message and f"stops at byte {end}" in message


def test_files_that_are_not_archives_are_refused_by_name(source, tmp_path, capsys):
    (source / TRAIN).write_bytes(b"<html>please log in</html>".ljust(5000))
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert f"{source / TRAIN}: expected a tar header at byte 0" in message
    (source / TRAIN).write_bytes((source / VAL).read_bytes())
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert "ILSVRC2012_val_00000005.JPEG at byte 512" in message and "nXXXXXXXX.tar" in message


def test_the_error_for_a_missing_class_has_its_name(source, tmp_path, capsys):
    inner = {f"{name}.tar": make_tar({f"{name}_0.JPEG": make_jpeg(0)}) for name in CLASSES[:2]}
    (source / TRAIN).write_bytes(make_tar(inner))
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert "there are 2 and 3" in message and "only in validation: n15075141" in message


def test_a_missing_validation_image_is_refused(source, tmp_path, capsys):
    (source / VAL).write_bytes(
        make_tar({name: content for _, name, content in make_validation_images()[1:]})
    )
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert f"{source / VAL} has 4 images, but there are 5 labels" in message


@pytest.mark.parametrize("inside", ["", "new"])
def test_an_output_path_that_is_a_file_is_refused(source, tmp_path, capsys, inside):
    file = tmp_path / "thesis.txt"
    file.write_text("mine")
    message = run_refused_prepare(capsys, source, file / inside)
    assert (
        f"{file} is a file. Choose a folder for --out" in message
        and "bytes are free" not in message
    )
    assert file.read_text() == "mine"


def test_the_error_for_an_unreadable_file_has_its_name(tmp_path, capsys):
    source = write_folders(tmp_path / "source")
    broken = source / "train" / CLASSES[0] / "broken.JPEG"
    broken.symlink_to(tmp_path / "not there")
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert str(broken) in message and "a link to nothing" in message


def test_a_damaged_devkit_is_refused_by_name(source, tmp_path, capsys):
    kit = source / f"{DEVKIT}.tar.gz"
    kit.write_bytes(kit.read_bytes()[:-200])
    assert f"{kit} is damaged" in run_refused_prepare(capsys, source, tmp_path / "out")


def test_the_error_without_a_source_has_every_place(tmp_path, capsys):
    message = run_refused_prepare(capsys, tmp_path, tmp_path / "out")
    for place in (TRAIN, VAL, "train", "imagenet2012"):
        assert str(tmp_path / place) in message
    (write_archives(tmp_path / "source") / f"{DEVKIT}.tar.gz").unlink()
    message = run_refused_prepare(capsys, tmp_path / "source", tmp_path / "out")
    assert f"{DEVKIT}.tar.gz" in message and "validation_synset_labels.txt" in message


def test_folders_of_other_files_are_not_touched(source, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    before = read_contents(out)
    assert "is not empty and has no manifest.json" in run_refused_prepare(capsys, source, out)
    assert read_contents(out) == before
    (out / "thesis.txt").unlink()
    assert run_prepare(source, out) == 0
    before = read_contents(out)
    assert "a different size); choose another --out" in run_refused_prepare(
        capsys, source, out, "--size", "9"
    )
    folders = write_folders(tmp_path / "folders")
    assert "was begun from another source" in run_refused_prepare(capsys, folders, out)
    assert read_contents(out) == before


@pytest.mark.parametrize("out", ["train/out", "val/a/out", "link/out"])
def test_a_folder_where_the_next_call_would_find_it_as_a_class_is_refused(tmp_path, capsys, out):
    source = tmp_path / "source"
    write_folders(source)
    (tmp_path / "source" / "link").symlink_to("train")
    before = read_contents(source)
    said = run_refused_prepare(capsys, source, source / out)
    assert f"{source / out} is inside a folder of --source. Choose another --out." in said
    assert read_contents(source) == before
    # Next to the splits it is in nobody's way.
    assert run_prepare(source, source / "out") == run_prepare(source, source / "out") == 0


def test_too_little_space_is_refused_before_writing(source, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    full = SimpleNamespace(free=10)
    monkeypatch.setattr(array_records.shutil, "disk_usage", lambda _: full)
    message = run_refused_prepare(capsys, source, out)
    assert "bytes are needed, 10 are free" in message and "--size" in message
    assert list(out.glob("*.array_record*")) == []


def test_finished_files_are_kept_if_the_disk_is_full(source, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    write = array_records._write

    def fill_up(shard, *args):
        if shard.file.startswith("train-00002"):
            (out / f"{shard.file}.{os.getpid()}.part").symlink_to("/dev/full")
        return write(shard, *args)

    with monkeypatch.context() as patch:
        patch.setattr(array_records, "_write", fill_up)
        message = run_refused_prepare(capsys, source, out)
    assert f"cannot write to {out}" in message and "No space left on device" in message
    assert "repeat the command to resume" in message
    assert len(list(out.glob("*.array_record"))) == 2
    assert run_prepare(source, out) == 0
    assert read_stored(out, "train") == drop_names(make_training_images())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["mnist", "--source", "a", "--out", "b"],
            "cannot prepare 'mnist'; known data sets",
        ),
        (["imagenet", "--out", "b"], "--source; see --help"),
        (["imagenet", "--source", "a", "--out", "b", "--workers", "0"], "at least 1"),
        (["imagenet", "--source", "a", "--out", "b", "--fast"], "--fast; see --help"),
    ],
)
def test_the_error_for_a_wrong_command_explains_it(arguments, message, capsys):
    assert prepare.main(["prepare", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_help_has_every_option(capsys):
    assert prepare.main(["prepare", "--help"]) == 0
    page = capsys.readouterr().out
    for word in ("--source", "--out", "--workers", "--size", "--verify", *prepare.PLANS):
        assert word in page


def test_test_pictures_are_different_noise():
    assert (
        len({content for _, _, content in make_training_images() + make_validation_images()}) == 21
    )
    assert np.asarray(Image.open(io.BytesIO(make_training_images()[0][2]))).shape == (30, 40, 3)
