"""train.check: its report on data that are complete, changed, missing or in both splits."""

import hashlib
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from tests.train.helpers import TINY, write_cifar100
from tests.train.image_files import STEMS, write_idx
from tests.train.imagenet_files import write_folders
from train import data
from train.check import __main__ as check
from train.check import archives, contact_sheet, samples, throughput
from train.data import ArraySplit, Dataset
from train.data.imagenet import source
from train.data.imagenet.array_records import convert


def make_dataset(name="folder", train=(4, 4, 4), test=(2, 2, 2), shape=(4, 4, 1)):
    """Return different samples; `train` and `test` give the number of samples of each class."""
    random = np.random.default_rng(0)

    def split(counts):
        labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return ArraySplit(random.integers(0, 256, (len(labels), *shape), dtype=np.uint8), labels)

    return Dataset(name, split(train), split(test), len(train), (0.5,), (0.2,))


def run_check(*args):
    # Pytest's process has four devices, and their number cannot change.
    return check.main(["check", *args, "--config.cpu_devices=4"])


def test_complete_data_are_ready_and_a_sheet_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(throughput, "SECONDS", 0)
    assert run_check("--config", TINY, "--out", str(tmp_path / "new"), "--config.seed=1") == 0
    printed, errors = capsys.readouterr()
    assert printed.splitlines()[-1] == "ready" and errors == ""
    assert "samples of synthetic" in printed and "rough numbers" in printed
    assert "note: each epoch trains on 96 of 100 samples and skips 4" in printed
    # The config has the start of Eq. 12.
    assert "note: the levels of 3 of 3 layers do not fit their membranes" in printed
    with Image.open(tmp_path / "new" / "sheet.png") as picture:
        assert picture.size[0] > 1000


@pytest.mark.parametrize("kind", ["picture", "folder", "link"])
def test_a_picture_of_the_name_of_the_sheet_is_never_overwritten(
    tmp_path, capsys, monkeypatch, kind
):
    monkeypatch.setattr(throughput, "draw_sheet", lambda config, dataset: Figure())
    monkeypatch.setattr(throughput, "measure_speed", lambda *_: "")
    file = tmp_path / "sheet.png"
    if kind == "picture":
        Figure().savefig(file)
        before = file.read_bytes()
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("gone.png")
    command = ("--config", TINY, "--out", str(tmp_path))
    assert run_check(*command) == 2
    error = capsys.readouterr().err
    assert f"error: {file} is not a" in error and len(error.splitlines()) == 1
    assert kind != "picture" or file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    (file.rmdir if kind == "folder" else file.unlink)()
    # Its own sheet is replaced.
    assert run_check(*command) == run_check(*command) == 0


def test_help_lists_the_flags(capsys):
    assert run_check("--help") == 0
    printed = capsys.readouterr().out
    assert "usage: python -m train.check [-h] --config FILE[:variant]" in printed
    assert "--out DIR" in printed and "runs/check/" in printed


def test_missing_data_are_reported_with_their_path(tmp_path, capsys):
    args = ["--config", "configs/fashion_mnist.py", f"--config.data.data_dir={tmp_path}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.data.images.mnist.DEBIAN", tmp_path / "debian")
        assert run_check(*args, "--out", str(tmp_path / "out")) == 2
    printed, errors = capsys.readouterr()
    assert "ready" not in printed and f"{tmp_path}/fashion-mnist: no train-images" in errors
    assert not (tmp_path / "out").exists()


def test_a_changed_archive_and_missing_samples_are_problems(tmp_path, capsys, monkeypatch):
    archive = write_cifar100(tmp_path, 40)
    place = [f"--config.data.data_dir={tmp_path}", "--out", str(tmp_path / "out")]
    # AutoAugment and a ResNet18 would take a minute to compile.
    monkeypatch.setattr(throughput, "draw_sheet", lambda config, dataset: Figure())
    monkeypatch.setattr(throughput, "measure_speed", lambda *_: "")
    assert run_check("--config", "configs/cifar100.py", *place) == 2
    printed = capsys.readouterr().out
    found = hashlib.md5(archive.read_bytes()).hexdigest()
    assert f"to do: {archive} has the md5 {found}, the published file eb9058c3a382ffc710" in printed
    assert "to do: cifar100 has 40 training and 40 test samples, not 50,000 and 10,000" in printed
    assert "to do: no training sample is of class" in printed and "ready" not in printed
    assert archive.is_file()


def test_conversions_of_images_and_skipped_files_are_reported(tmp_path, capsys, monkeypatch):
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(20):
                pixels = Image.new("RGBA", (8, 8), (10, 20, 30, 100 if name == "bee" else 255))
                pixels.save(tmp_path / split / name / f"{number}.png")
            (tmp_path / split / name / ".DS_Store").write_text("")
        (tmp_path / split / "ant" / "list.txt").write_text("")
    monkeypatch.setattr(throughput, "draw_sheet", lambda config, dataset: Figure())
    monkeypatch.setattr(throughput, "measure_speed", lambda *_: "")
    place = [f"--config.data.data_dir={tmp_path}", "--out", str(tmp_path / "out")]
    assert run_check("--config", "configs/folder.py", *place) == 0
    printed, errors = capsys.readouterr()
    for split in ("train", "test"):
        assert (
            f"note: {tmp_path / split}: transparent parts drawn on white: 20 of 40 images; "
            "skipped, because Pillow cannot read them: 1 (.txt 1).\n"
        ) in errors
    assert "note: each epoch trains on 32 of 40 samples and skips 8" in printed


def test_an_archive_with_the_published_hash_matches(tmp_path, monkeypatch, capsys):
    archive = write_cifar100(tmp_path, 2)
    right = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(archives.FILES, "cifar100", lambda root: {root / archive.name: right})
    assert archives.check_archives("cifar100", tmp_path, Console()) == []
    assert f"{archive}: md5 matches" in capsys.readouterr().out


def write_empty_idx(folder):
    """Write files with the names of MNIST's, but other content."""
    write_idx(folder, dict.fromkeys(STEMS, np.zeros(1, np.uint8)))


@pytest.mark.parametrize("folder", ["MNIST/raw", "mnist", "."])
def test_the_hashed_files_are_those_that_are_read(tmp_path, folder):
    write_empty_idx(tmp_path / folder)
    problems = archives.check_archives("mnist", tmp_path, Console())
    files = sorted(each.partition(" has the md5")[0] for each in problems)
    assert files == sorted(str(file) for file in (tmp_path / folder).iterdir())


def test_of_two_copies_the_one_that_is_read_is_hashed(tmp_path):
    write_empty_idx(tmp_path / "mnist")
    write_empty_idx(tmp_path / "MNIST/raw")
    problems = archives.check_archives("mnist", tmp_path, Console())
    assert len(problems) == 4 and all(f"{tmp_path}/mnist/" in each for each in problems)


def test_archives_of_another_data_set_are_ignored(tmp_path):
    write_cifar100(tmp_path, 2)
    assert archives.check_archives("cifar10", tmp_path, Console()) == []
    assert len(archives.check_archives("cifar100", tmp_path, Console())) == 1


def test_files_without_published_hash_are_reported(tmp_path, capsys, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert archives.check_archives("cifar10", tmp_path, Console()) == []
    line = "cifar-10-batches-py: not checked: only archives have published hashes\n"
    assert capsys.readouterr().out.endswith(line)
    monkeypatch.setattr("train.data.images.mnist.DEBIAN", tmp_path / "debian")
    write_empty_idx(tmp_path / "debian")  # Debian compresses the files again: no published hash.
    assert archives.check_archives("fashion_mnist", tmp_path, Console()) == []
    assert "t10k-labels-idx1-ubyte.gz: not checked" in capsys.readouterr().out
    assert archives.check_archives("n_mnist", tmp_path, Console()) == []
    assert f"{tmp_path}: not checked: it has none" in capsys.readouterr().out


def test_hashes_are_reported_even_if_loading_fails(tmp_path, capsys):
    archive = write_cifar100(tmp_path, 4)
    archive.write_bytes(archive.read_bytes()[:-20])
    place = [f"--config.data.data_dir={tmp_path}", "--out", str(tmp_path / "out")]
    assert run_check("--config", "configs/cifar100.py", *place) == 2
    errors = capsys.readouterr().err
    assert f"{archive} has the md5" in errors and "not a complete tar.gz archive" in errors


def test_archives_inside_the_archive_of_tonic_have_no_published_hashes(tmp_path):
    (tmp_path / "CIFAR10DVS").mkdir()
    (tmp_path / "CIFAR10DVS" / "cat.zip").write_bytes(b"")
    (problem,) = archives.check_archives("cifar10_dvs", tmp_path, Console())
    assert "cat.zip has the md5 d41d8cd98f00b204e9800998ecf8427e" in problem
    (tmp_path / "CIFAR10DVS" / "CIFAR10DVS.zip").write_bytes(b"")
    (problem,) = archives.check_archives("cifar10_dvs", tmp_path, Console())
    assert "CIFAR10DVS.zip has the md5" in problem


def test_published_counts_agree_with_data_that_ship():
    assert samples.check_counts(data.load("digits")) == []


@pytest.mark.parametrize(
    "found, problem",
    [
        (make_dataset("digits"), "12 training and 6 test samples, not 1,437 and 360"),
        (make_dataset(train=(4, 0, 4)), "no training sample is of class 1"),
        (
            make_dataset("cifar10", (4_999, 5_001, *[5_000] * 8), [1_000] * 10, (1, 1, 1)),
            "do not have the same size, as in the published data: labels were changed",
        ),
        (make_dataset("dvs_gesture"), "not 1,176 and 288 or 1,077 and 264: files are missing"),
    ],
)
def test_different_counts_are_reported(found, problem):
    (note,) = samples.check_counts(found)
    assert problem in note


def test_only_imbalanced_classes_are_noted():
    assert samples.find_imbalance(make_dataset(train=(4, 8, 5))) == []
    (note,) = samples.find_imbalance(make_dataset(train=(4, 9, 5)))
    assert "largest class of train has 9 samples and the smallest 4" in note


def test_duplicate_test_samples_are_counted_with_their_labels():
    whole = make_dataset()
    assert samples.find_duplicates(whole.train.arrays, whole.test.arrays) == []
    whole.test.images[0] = whole.train.images[0]
    whole.test.images[1] = whole.train.images[11]
    (note,) = samples.find_duplicates(whole.train.arrays, whole.test.arrays)
    assert note.startswith("2 of 6 test samples are also training samples, bit for bit, 1 of them")


def test_recordings_without_events_are_counted():
    whole = make_dataset(shape=(2, 4, 4, 2))
    splits = whole.train.arrays, whole.test.arrays
    assert samples.find_blank(*splits) == []
    whole.test.images[3:5] = 0
    assert samples.find_blank(*splits) == ["2 samples of test are blank."]


def get_picture(figure):
    return figure.axes[0].images[0].get_array()


def test_on_events_are_orange_off_events_blue_and_both_dark():
    frames = np.zeros((1, 2, 16, 16, 2))
    frames[0, 0, 0, 0, 1] = frames[0, 1, 0, 1, 0] = 3
    frames[0, 1, 0, 2] = 3
    picture = get_picture(
        contact_sheet.draw_frames("", contact_sheet.Samples(frames, [frames], [7]))
    )
    assert picture.shape == (2 * 17, 2 * 17, 3)
    np.testing.assert_allclose(picture[0, 0], contact_sheet.ON)
    np.testing.assert_allclose(picture[0, 17 + 1], contact_sheet.OFF)
    assert (picture[0, 17 + 2] < 0.25).all() and (picture[5, 5] == 1).all()


def test_long_recordings_show_evenly_spaced_frames():
    frames = np.zeros((1, 40, 4, 4, 2))
    frames[0, 39, 0, 0, 1] = 1
    figure = contact_sheet.draw_frames("", contact_sheet.Samples(frames, [frames], [0]))
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(names) == 10 and names[0] == "t = 1" and names[-1] == "t = 40"
    np.testing.assert_allclose(get_picture(figure)[0, 9 * 5], contact_sheet.ON)


def test_raw_images_are_above_their_augmentations_within_0_and_1():
    raw, changed = np.full((2, 4, 4, 1), 0.25), np.full((2, 4, 4, 1), 1.5)
    picture = get_picture(
        contact_sheet.draw_images("", contact_sheet.Samples(raw, [changed], [0, 1]))
    )
    assert (picture[:4, :4] == 0.25).all() and (picture[5:9, :4] == 1).all()


def test_images_on_disk_are_counted_verified_drawn_and_timed(tmp_path, capsys, monkeypatch):
    pytest.importorskip("grain")
    monkeypatch.setattr(throughput, "SECONDS", 0.2)  # Longer than an epoch of it takes to read.
    # The training step is measured in the first test.
    monkeypatch.setattr(throughput, "_make_training", lambda *_: lambda: None)
    convert(source.plan(write_folders(tmp_path / "source")), tmp_path / "data", workers=1)
    config = [
        "--config",
        "tests/train/tiny_imagenet.py",
        f"--config.data.data_dir={tmp_path / 'data'}",
        f"--out={tmp_path / 'out'}",
    ]
    assert run_check(*config) == 2  # Sixteen images are not ImageNet.
    printed = " ".join(capsys.readouterr().out.split())
    assert re.search(r"0 n\d{8} │ 5 │ 2", printed) and "all │ 16 │ 5" in printed
    assert "every file: sha256 matches" in printed
    assert "to do: imagenet has 16 training and 5 test samples, not 1,281,167 and 50,000" in printed
    assert "images/s are read by 0 workers" in printed and (tmp_path / "out/sheet.png").exists()
    shard = next((tmp_path / "data").glob("*train*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert run_check(*config) == 2
    assert f"{shard}: expected sha256" in capsys.readouterr().err
