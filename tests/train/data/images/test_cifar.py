import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from tests.train.image_files import (
    encode_binary,
    pickle_as_python2,
    pickle_as_python3,
    write_archive,
    write_folder,
)
from train.data import DataNotFound, load
from train.errors import UserError

RNG = np.random.default_rng(0)
ROWS = {f"data_batch_{i}": i for i in range(1, 6)} | {"test_batch": 3}
IMAGES = {name: RNG.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for name, n in ROWS.items()}
LABELS = {name: RNG.integers(0, 10, n).tolist() for name, n in ROWS.items()}


def make_cifar10_files(pickled=pickle_as_python2) -> dict[str, bytes]:
    """Return the files in the order of the official archive, which is not sorted by number."""
    files = {"batches.meta": b"", "data_batch_4": b"", "readme.html": b"<html>", "test_batch": b""}
    files |= {f"data_batch_{i}": b"" for i in (3, 5, 1, 2)}
    return files | {name: pickled(IMAGES[name], labels=LABELS[name]) for name in IMAGES}


def write_cifar10(root: Path, files: dict[str, bytes]) -> Path:
    return write_archive(root / "cifar-10-python.tar.gz", "cifar-10-batches-py", files)


def assert_is_cifar10(dataset) -> None:
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    assert dataset.name == "cifar10" and dataset.num_classes == 10
    assert (dataset.train.images == np.concatenate([IMAGES[name] for name in batches])).all()
    assert dataset.train.labels.tolist() == [label for name in batches for label in LABELS[name]]
    assert (dataset.test.images == IMAGES["test_batch"]).all()
    assert dataset.test.labels.tolist() == LABELS["test_batch"]
    assert dataset.train.images.dtype == np.uint8 and dataset.train.labels.dtype == np.int32


@pytest.mark.parametrize("pickled", [pickle_as_python2, pickle_as_python3])
def test_the_archive_is_read_exactly_and_not_extracted(tmp_path, pickled):
    archive = write_cifar10(tmp_path, make_cifar10_files(pickled))
    assert_is_cifar10(load("cifar10", tmp_path))
    assert list(tmp_path.iterdir()) == [archive]


def test_the_extracted_folder_is_read_exactly(tmp_path):
    write_folder(tmp_path / "cifar-10-batches-py", make_cifar10_files())
    assert_is_cifar10(load("cifar10", tmp_path))


def test_the_archive_is_read_before_the_folder(tmp_path):
    write_cifar10(tmp_path, make_cifar10_files())
    write_folder(tmp_path / "cifar-10-batches-py", {})
    assert_is_cifar10(load("cifar10", tmp_path))


@pytest.mark.parametrize("extracted", [False, True])
def test_cifar100_has_the_fine_labels(tmp_path, extracted):
    images, fine = IMAGES["data_batch_3"], [99, 0, 50]
    batch = pickle_as_python2(images, fine_labels=fine, coarse_labels=[1, 2, 3])
    files = {"meta": b"", "test": batch, "train": batch}
    if extracted:
        write_folder(tmp_path / "cifar-100-python", files)
    else:
        write_archive(tmp_path / "cifar-100-python.tar.gz", "cifar-100-python", files)
    dataset = load("cifar100", tmp_path)
    assert dataset.num_classes == 100
    for split in (dataset.train, dataset.test):
        assert (split.images == images).all() and split.labels.tolist() == fine


@pytest.mark.parametrize("extracted", [False, True])
def test_binary_files_are_read_exactly(tmp_path, extracted):
    files = {f"{name}.bin": encode_binary(IMAGES[name], LABELS[name]) for name in IMAGES}
    if extracted:
        write_folder(tmp_path / "cifar-10-batches-bin", files)
    else:
        write_archive(tmp_path / "cifar-10-binary.tar.gz", "cifar-10-batches-bin", files)
    assert_is_cifar10(load("cifar10", tmp_path))


def test_binary_cifar100_has_the_fine_labels(tmp_path):
    images = IMAGES["data_batch_3"]
    batch = encode_binary(images, [1, 2, 3], [99, 0, 50])
    write_folder(tmp_path / "cifar-100-binary", {"train.bin": batch, "test.bin": batch})
    dataset = load("cifar100", tmp_path)
    assert dataset.train.labels.tolist() == [99, 0, 50] and (dataset.test.images == images).all()


@pytest.mark.parametrize("cut", [1, 3073 * 3])
def test_a_binary_file_that_ends_within_a_row_is_refused(tmp_path, cut):
    images = IMAGES["data_batch_3"]
    whole = encode_binary(images, [1, 2, 3])
    files = {f"{name}.bin": whole for name in IMAGES} | {"data_batch_2.bin": whole[:-cut]}
    write_folder(tmp_path / "cifar-10-batches-bin", files)
    with pytest.raises(UserError, match="data_batch_2.bin: expected rows of 3073 bytes, got"):
        load("cifar10", tmp_path)


def test_missing_archives_are_downloaded_and_read(tmp_path, monkeypatch):
    source = write_cifar10(tmp_path / "server", make_cifar10_files())
    asked = []

    def fetch(remote, target):
        asked.append(remote)
        target.parent.mkdir()
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr("train.data.images.cifar.download", fetch)
    assert_is_cifar10(load("cifar10", tmp_path / "data"))
    assert_is_cifar10(load("cifar10", tmp_path / "data"))
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert asked == [(url, "c58f30108f718f92721af3b95e74349a")]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name, archive", [("cifar10", "cifar-10"), ("cifar100", "cifar-100")])
def test_the_error_for_missing_data_has_each_place_and_the_official_address(
    tmp_path, monkeypatch, name, archive
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataNotFound) as error:
        load(name, "my data")
    message = str(error.value)
    for place in (f"{archive}-python.tar.gz", archive, name):
        assert f"{tmp_path}/my data/{place}" in message
    assert f"https://www.cs.toronto.edu/~kriz/{archive}-python.tar.gz" in message
    assert "Tried just now" in message and "no network here" in message
    assert f"curl -fL --create-dirs -o '{tmp_path}/my data/{archive}-python.tar.gz'" in message


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_archive_is_refused_by_name_and_kept(tmp_path, kept):
    archive = write_cifar10(tmp_path, make_cifar10_files())
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="not a complete tar.gz") as error:
        load("cifar10", tmp_path)
    assert str(archive) in str(error.value)
    assert "Delete it and fetch the archive again:\n  curl" in str(error.value)
    assert archive.read_bytes() == content[: int(kept * len(content))]


@pytest.mark.parametrize("place", [0.05, 0.5, 0.95])
def test_a_wrong_bit_in_the_archive_is_refused(tmp_path, place):
    archive = write_cifar10(tmp_path, make_cifar10_files())
    content = bytearray(archive.read_bytes())
    content[int(place * len(content))] ^= 4
    archive.write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(str(archive))}: "):
        load("cifar10", tmp_path)


def test_a_wrong_checksum_after_the_last_member_is_refused(tmp_path):
    archive = write_cifar10(tmp_path, make_cifar10_files())
    content = bytearray(archive.read_bytes())
    content[-8] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match="not a complete tar.gz archive .CRC check failed"):
        load("cifar10", tmp_path)


@pytest.mark.parametrize("extracted", [False, True])
def test_the_error_for_missing_files_has_their_names(tmp_path, extracted):
    files = make_cifar10_files()
    del files["data_batch_2"], files["test_batch"]
    if extracted:
        place = tmp_path / "cifar-10-batches-py"
        write_folder(place, files)
    else:
        place = write_cifar10(tmp_path, files)
    with pytest.raises(UserError, match=f"{re.escape(str(place))}: data_batch_2, test_batch miss"):
        load("cifar10", tmp_path)


ONE = IMAGES["data_batch_1"]


@pytest.mark.parametrize(
    "batch, problem",
    [
        (pickle_as_python2(ONE, labels=[10]), "expected labels 0..9, got 10"),
        (pickle_as_python2(ONE, labels=[-1]), "expected labels 0..9, got -1"),
        (pickle_as_python3(ONE, labels=[2**32]), "expected labels 0..9, got 4294967296"),
        (pickle_as_python2(ONE, labels=[1, 2]), r"expected 1 integer labels, .* got int64 \(2,\)"),
        (pickle_as_python3(ONE, labels=[0.5]), "expected 1 integer labels, .* got float64"),
        (
            pickle_as_python2(ONE, fine_labels=[1]),
            "expected a dict with the keys b'data' and b'lab",
        ),
        (pickle_as_python2(ONE[:, 1:], labels=[1]), r"\(rows, 3072\), got uint8 \(1, 2976\)"),
        (pickle.dumps({b"data": ONE * 0.5, b"labels": [1]}, 2), r"got float64 \(1, 32, 32, 3\)"),
        (pickle.dumps({b"data": [1], b"labels": [1]}, 2), "got <class 'list'>"),
        (pickle.dumps([1, 2], 2), "expected a dict"),
        (pickle_as_python2(ONE, labels=[1])[:-100], "not a complete pickle|truncated"),
        (b"cos\nsystem\n(U\x04exitoR.", "refused to load the global os.system"),
    ],
)
def test_wrong_batches_are_refused_by_name_and_reason(tmp_path, batch, problem):
    archive = write_cifar10(tmp_path, make_cifar10_files() | {"data_batch_4": batch})
    with pytest.raises(UserError, match=f"{re.escape(str(archive))}: data_batch_4: .*({problem})"):
        load("cifar10", tmp_path)
