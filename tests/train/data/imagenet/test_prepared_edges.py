"""Conversions at the edges: damaged archives, two processes, odd manifests, Kaggle's layout."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.train.data.storage.test_archives import encode_size, make_header
from tests.train.helpers import ROOT
from tests.train.imagenet_files import (
    CLASSES,
    TESTED,
    drop_names,
    make_jpeg,
    make_tar,
    make_training_images,
    make_validation_images,
    read_stored,
    run_prepare,
    run_refused_prepare,
    write_archives,
    write_folders,
)
from train.data import load
from train.data.imagenet import array_records, labels
from train.data.imagenet import source as imagenet_source
from train.data.imagenet.manifest import load_manifest
from train.errors import UserError

pytest.importorskip("array_record")
TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


@pytest.mark.parametrize("size", [-512, -1024, -(2**60), 10**9, 2**80])
@pytest.mark.parametrize("name", [TRAIN, VAL])
def test_an_archive_with_a_wrong_size_ends_in_one_sentence(tmp_path, capsys, size, name):
    source = write_archives(tmp_path / "source")
    member = "n01440764.tar" if name == TRAIN else "ILSVRC2012_val_00000001.JPEG"
    huge = b"\x80" + size.to_bytes(11, "big") if size > 10**10 else encode_size(size)
    (source / name).write_bytes(make_header(member, huge) + bytes(5000))
    begun = time.monotonic()
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert time.monotonic() - begun < 5 and str(source / name) in message
    assert "it is damaged" in message or "it is truncated" in message


def test_an_inner_archive_with_a_negative_size_ends_in_one_sentence(tmp_path, capsys):
    source = write_archives(tmp_path / "source")
    inner = {f"{name}.tar": make_tar({f"{name}_0.JPEG": make_jpeg(0)}) for name in CLASSES}
    inner["n02105855.tar"] = make_header("a.JPEG", encode_size(-512)) + bytes(1024)
    (source / TRAIN).write_bytes(make_tar(inner))
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert f"{source / TRAIN}: it is damaged: a.JPEG" in message


@pytest.mark.parametrize("prefix", ["./", "train/", "/", ".\\"])
def test_members_of_the_official_archives_may_have_other_paths(tmp_path, prefix):
    source = write_archives(tmp_path / "source")
    inner = {
        f"{prefix}{name}.tar": make_tar(
            {f"{prefix}{file}": raw for label, file, raw in make_training_images() if label == i}
        )
        for i, name in enumerate(CLASSES)
    }
    junk = {f"{prefix}._n01440764.tar": b"\0" * 10}
    (source / TRAIN).write_bytes(make_tar(junk | inner))
    images = {f"{prefix}{file}": raw for _, file, raw in make_validation_images()}
    (source / VAL).write_bytes(make_tar(images))
    assert run_prepare(source, tmp_path / "out") == 0
    assert read_stored(tmp_path / "out", "train") == drop_names(make_training_images())


def move_to_kaggle(source: Path) -> Path:
    """Move folders of classes to the places in Kaggle's archive, with its table of labels."""
    inner = source / "ILSVRC" / "Data" / "CLS-LOC"
    inner.mkdir(parents=True)
    (source / "train").rename(inner / "train")
    (inner / "val").mkdir()
    for file in (source / "val").rglob("*.JPEG"):
        file.rename(inner / "val" / file.name)
    rows = [f"ILSVRC2012_val_{i:08d},{CLASSES[c]} 1 2 3 4 " for i, c in enumerate(TESTED, 1)]
    table = "\n".join(["ImageId,PredictionString", *reversed(rows)])
    (source / "LOC_val_solution.csv").write_text(table)
    return source


@pytest.mark.parametrize("lost", [True, False])
def test_a_copy_of_a_validation_image_is_refused_by_name(tmp_path, capsys, lost):
    source = move_to_kaggle(write_folders(tmp_path / "source"))
    images = source / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    first, second, *_ = sorted(images.iterdir())
    first.with_suffix(".jpg").write_bytes(first.read_bytes())
    if lost:  # Then the number of images is right.
        second.unlink()
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert f"{images} has the image {first.stem} 2 times. Remove the copies" in message


def test_a_copy_in_the_archive_of_validation_images_is_refused_by_name(tmp_path, capsys):
    source = write_archives(tmp_path / "source")
    members = [(name, content) for _, name, content in make_validation_images()]
    parts = [make_tar(dict([member]))[:-1024] for member in (members[0], *members[:-1])]
    (source / "ILSVRC2012_img_val.tar").write_bytes(b"".join(parts) + bytes(1024))
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert "2 times. Remove the copies" in message


def test_kaggles_folders_and_table_of_labels_are_read(tmp_path):
    source = move_to_kaggle(write_folders(tmp_path / "source"))
    (source / "val").rename(tmp_path / "empty")
    assert run_prepare(source, tmp_path / "out") == 0
    assert read_stored(tmp_path / "out", "train") == drop_names(make_training_images())
    assert sorted(read_stored(tmp_path / "out", "test")) == sorted(
        drop_names(make_validation_images())
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_labels_from_editors_of_windows_are_read(tmp_path, encoding):
    source = write_archives(tmp_path / "source", devkit=False)
    listed = source / "imagenet_2012_validation_synset_labels.txt"
    listed.write_bytes(listed.read_text().replace("\n", "\r\n").encode(encoding))
    assert run_prepare(source, tmp_path / "out") == 0


def test_a_label_that_is_no_class_is_refused_by_line(tmp_path, capsys):
    source = write_archives(tmp_path / "source", devkit=False)
    (source / "imagenet_2012_validation_synset_labels.txt").write_text("n01440764\ntench\n")
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    assert "line 2: expected a class nXXXXXXXX, got 'tench'" in message


@pytest.mark.parametrize("link", [False, True])
def test_the_same_folder_as_source_and_out_is_refused(tmp_path, capsys, link):
    source = write_folders(tmp_path / "source")
    out = source
    if link:
        out = tmp_path / "link"
        out.symlink_to(source)
    assert "are the same folder" in run_refused_prepare(capsys, source, out)


def test_a_folder_whose_first_manifest_was_not_finished_is_prepared(tmp_path):
    source, out = write_folders(tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    for name in (".manifest.json.lock", "manifest.json.part"):
        (out / name).write_text("")
    assert run_prepare(source, out) == 0
    assert load_manifest(out / "manifest.json")["complete"]


PROGRAM = """
import sys
from train.data import prepare
from train.data.imagenet import array_records, source
source.CLASSES_A_SHARD, source.IMAGES_A_SHARD = 1, 3
sys.exit(prepare.main(["prepare", *sys.argv[1:], "--workers", "1"]))
"""


def test_two_processes_that_prepare_one_folder_write_each_shard_once(tmp_path):
    source, out = write_archives(tmp_path / "source"), tmp_path / "out"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "imagenet", "--source", str(source), "--out", str(out)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    manifest = load_manifest(out / "manifest.json")
    array_records.verify(out, manifest["shards"], 1)
    assert {path.name for path in out.iterdir()} == {"manifest.json", *manifest["files"]}
    assert read_stored(out, "train") == drop_names(make_training_images())


def test_a_process_that_begins_while_another_looks_at_the_folder_is_waited_for(
    tmp_path, monkeypatch
):
    plan, out = imagenet_source.plan(write_archives(tmp_path / "source")), tmp_path / "out"
    exists = Path.exists

    def prepare_meanwhile(path: Path) -> bool:
        there = exists(path)
        if path.name == "manifest.json" and not there:
            monkeypatch.setattr(Path, "exists", exists)
            array_records.convert(plan, out, workers=1)
        return there

    monkeypatch.setattr(Path, "exists", prepare_meanwhile)
    assert array_records.convert(plan, out, workers=1)["complete"]
    assert read_stored(out, "train") == drop_names(make_training_images())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "data"
    plan = imagenet_source.plan(write_archives(out.parent / "source"))
    array_records.convert(plan, out, workers=1)
    return out


def change(manifest: dict, *path: str, to: object) -> dict:
    place = manifest
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return manifest


FILE = "train-00000-of-00001.array_record"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "7", '"a"', "{}", "[" * 100_000, "\udcff", '{"format": 1}', "NaN"),
        *('{"format": 1, "complete": true, "classes": [], "files": [], "shards": {}}',),
    ],
)
def test_manifests_of_any_json_are_refused_by_name(prepared, tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match="manifest.json is damaged or of another version") as error:
        load("imagenet", tmp_path)
    assert len(str(error.value).splitlines()) <= 3 and len(str(error.value)) < 700


@pytest.mark.parametrize(
    "path, value",
    [
        (("classes",), ["a", "a", "b"]),
        (("classes",), "abc"),
        (("files",), ["../../etc/passwd"]),
        (("files",), [FILE, FILE]),
        (("complete",), "yes"),
        (("shards", FILE, "records"), -1),
        (("shards", FILE, "records"), 1e3),
        (("shards", FILE, "bytes"), None),
        (("shards", FILE, "sha256"), 5),
        (("shards", FILE, "sha256"), "abc"),
        (("shards", FILE, "split"), "validation"),
        (("shards", FILE, "per_class"), {"0": 1, "9": 15}),
        (("shards", FILE, "per_class"), {"-1": 16}),
        (("shards", FILE, "per_class"), [16]),
        (("shards", FILE), []),
    ],
)
def test_fields_of_a_manifest_are_checked_one_by_one(prepared, tmp_path, path, value):
    manifest = json.loads((prepared / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(change(manifest, *path, to=value)))
    with pytest.raises(UserError, match="manifest.json is damaged or of another version"):
        load("imagenet", tmp_path)


def test_a_shard_that_the_manifest_does_not_have_is_unfinished(prepared, tmp_path):
    manifest = json.loads((prepared / "manifest.json").read_text())
    del manifest["shards"][FILE]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="is not finished. Repeat the command"):
        load("imagenet", tmp_path)


def test_a_missing_file_is_not_to_be_deleted(prepared, tmp_path):
    (tmp_path / "manifest.json").write_bytes((prepared / "manifest.json").read_bytes())
    with pytest.raises(UserError, match="is missing. Repeat `python -m pit_jax prep") as error:
        load("imagenet", tmp_path)
    assert "elete" not in str(error.value)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5])
def test_a_flipped_bit_in_a_prepared_file_is_refused_when_its_record_is_read(
    prepared, tmp_path, place
):
    for path in prepared.iterdir():
        content = bytearray(path.read_bytes())
        if path.name == FILE:
            content[int(place * 24_000)] ^= 4
        (tmp_path / path.name).write_bytes(content)
    records = load("imagenet", tmp_path, size=8).train.read.args[0]
    with pytest.raises(UserError, match=f"{FILE}: record .*is damaged.*hash"):
        [records[i] for i in range(len(records))]


def test_a_truncated_prepared_file_of_the_right_size_is_refused(prepared, tmp_path):
    for path in prepared.iterdir():
        content = path.read_bytes()
        if path.name == FILE:
            content = content[:4000].ljust(len(content), b"\0")
        (tmp_path / path.name).write_bytes(content)
    with pytest.raises(UserError, match=FILE):
        records = load("imagenet", tmp_path, size=8).train.read.args[0]
        [records[i] for i in range(len(records))]


def test_a_development_kit_that_crashes_its_parser_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_archives(tmp_path / "source")
    crash = tmp_path / "crash.py"
    crash.write_text("import ctypes; ctypes.string_at(0)")
    monkeypatch.setattr(labels, "MAT_CHILD", crash)
    with pytest.raises(UserError, match=r"ILSVRC2012_devkit_t12.tar.gz .*its reader crashes"):
        labels.read_validation_labels(source)
