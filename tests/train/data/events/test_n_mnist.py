"""N-MNIST from folders and archives of its published format."""

import zipfile

import numpy as np
import pytest

from tests.train.event_files import count_in_frames, make_n_mnist, make_stream, make_zip, write
from train.data import load
from train.errors import UserError


@pytest.mark.parametrize("archived", [False, True])
def test_n_mnist_is_read_from_folders_and_archives(tmp_path, archived, capsys):
    for split, files in make_n_mnist().items():
        write(tmp_path, {f"{split}.zip": make_zip(files)} if archived else files)
    data = load("n_mnist", tmp_path, num_frames=4)
    assert data.train.labels.tolist() == data.test.labels.tolist() == [3, 7]
    for i, label in enumerate((3, 7)):
        assert np.array_equal(
            data.train.images[i], count_in_frames(make_stream(label, side=34), 4, side=34)
        )
    assert "n_mnist has 2 of 60,000 Train, 2 of 10,000 Test" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", bytes([0, 240, 0, 0, 0])])
def test_n_mnist_recordings_without_events_are_refused_by_name(tmp_path, content):
    for files in make_n_mnist().values():
        write(tmp_path, files)
    (tmp_path / "Train/3/00000.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"Train/3/00000.bin: it has no events(.|\n)*again"):
        load("n_mnist", tmp_path, num_frames=1)


def test_recordings_that_expand_too_far_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.events.recordings._ALWAYS_FITS", 1000)
    files = make_n_mnist()
    for split in files:
        bomb = {f"{split}/3/00000.bin": bytes(100_000)}
        write(tmp_path, {f"{split}.zip": make_zip(files[split] | bomb)})
    with pytest.raises(UserError, match=r"00000.bin\) has .* bytes that expand to 100,000"):
        load("n_mnist", tmp_path, num_frames=1)
    write(tmp_path / "flat", files["Train"] | files["Test"])
    with (tmp_path / "flat" / "Train" / "3" / "00000.bin").open("r+b") as file:
        file.truncate(2**42)  # The file takes no space on the disk.
    with pytest.raises(UserError, match="the events of .*00000.bin need at least 40,960.0 GiB"):
        load("n_mnist", tmp_path / "flat", num_frames=1)


def test_a_zip_is_opened_once_for_many_recordings(tmp_path, monkeypatch):
    count, open_zip = [], zipfile.ZipFile

    def open_and_count(*args, **kwargs):
        count.append(args)
        return open_zip(*args, **kwargs)

    files = make_n_mnist(labels=[i % 10 for i in range(60)])
    for split in files:
        write(tmp_path, {f"{split}.zip": make_zip(files[split])})
    monkeypatch.setattr(zipfile, "ZipFile", open_and_count)
    assert len(load("n_mnist", tmp_path, num_frames=1).train) == 60
    assert len(count) <= 8  # By split: list, take fingerprints, read, cache.


@pytest.mark.parametrize("archived", [False, True])
def test_n_mnist_splits_without_recordings_are_refused_by_name(tmp_path, archived):
    files = make_n_mnist()
    write(tmp_path, {"Train.zip": make_zip({})} if archived else {"Train/README.txt": b""})
    write(tmp_path, files["Test"])
    with pytest.raises(UserError, match="Train has no .bin file: fetch or extract"):
        load("n_mnist", tmp_path)


def test_n_mnist_files_outside_the_ten_folders_are_refused(tmp_path):
    for place in ("Train/3/00001.bin", "Train/other/00002.bin", "Test/3/00001.bin"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    with pytest.raises(UserError, match=r"other/00002.bin: expected a name like 7/00012.bin"):
        load("n_mnist", tmp_path)
