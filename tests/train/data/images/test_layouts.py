"""CIFAR and MNIST in the layouts that browsers, Windows, 7-Zip, Kaggle, Keras and macOS leave."""

import gzip
import io
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from tests.train.data.images.test_cifar import assert_is_cifar10, make_cifar10_files, write_cifar10
from tests.train.data.images.test_mnist import FILES, TEST, TRAIN
from tests.train.data.storage.test_archives import pack_tar, pack_zip
from tests.train.image_files import make_rows, pickle_as_python2, write_archive, write_folder
from train.check.archives import FILES as ARCHIVES
from train.data import load
from train.data.images import mnist
from train.data.images.idx import read_idx
from train.data.images.unpickle import load_arrays
from train.errors import UserError

NAMED = {f"cifar-10-batches-py/{name}": raw for name, raw in make_cifar10_files().items()}


@pytest.fixture(autouse=True)
def no_debian_package(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "DEBIAN", tmp_path / "debian")


@pytest.mark.parametrize("prefix", ["./", "/", "data/", ".\\", "./data/./"])
def test_cifar_archives_with_other_member_names_are_read(tmp_path, prefix):
    named = {f"{prefix}{name}": raw for name, raw in NAMED.items()}
    pack_tar(tmp_path / "cifar-10-python.tar.gz", named)
    assert_is_cifar10(load("cifar10", tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        *("cifar-10-python.tgz", "cifar-10-python.tar", "cifar-10-python.zip"),
        *("cifar-10-python (1).tar.gz", "cifar-10-python.tar (2).gz", "CIFAR-10-Python.TAR.GZ"),
        *(
            "cifar-10-batches-py.tar.gz",
            "cifar10/cifar-10-python.tar.gz",
            "cifar-10-batches-py.zip",
        ),
        *("CIFAR10/cifar-10-python.tar.gz", "cifar-10-python.tar.bz2", "cifar-10-python.tar.xz"),
    ],
)
def test_cifar_archives_of_other_names_and_kinds_are_read(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    modes = {".tar": "w", ".bz2": "w:bz2", ".xz": "w:xz"}
    if path.suffix == ".zip":
        pack_zip(path, NAMED)
    else:
        pack_tar(path, NAMED, modes.get(path.suffix, "w:gz"))
    assert_is_cifar10(load("cifar10", tmp_path))


def test_a_download_of_kaggle_is_read_if_it_has_the_files(tmp_path):
    pack_zip(tmp_path / "archive.zip", NAMED)
    assert_is_cifar10(load("cifar10", tmp_path))
    for content in (b"", b"PK\3\4", b"<html>"):
        (tmp_path / "archive.zip").write_bytes(content)
        assert not ARCHIVES["cifar10"](tmp_path)
    pack_zip(tmp_path / "archive.zip", {"cat/1.png": b""})
    assert not ARCHIVES["cifar10"](tmp_path)


@pytest.mark.parametrize(
    "folder",
    [
        *("cifar-10-batches-py/cifar-10-batches-py", "cifar-10-python/cifar-10-batches-py"),
        *("cifar-10-python.tar/cifar-10-batches-py", "cifar10/cifar-10-batches-py", "."),
        *("CIFAR-10-Batches-Py", "cifar-10-batches-py (1)"),
    ],
)
def test_extracted_cifar_folders_are_found(tmp_path, folder):
    write_folder(tmp_path / "data" / folder, make_cifar10_files())
    assert_is_cifar10(load("cifar10", tmp_path / "data"))


def test_cifar_files_in_upper_case_and_next_to_those_of_systems_are_read(tmp_path):
    files = {name.upper(): raw for name, raw in make_cifar10_files().items()}
    junk = {f"._{name}": b"\0" for name in make_cifar10_files()} | {"Thumbs.db": b"\0"}
    write_folder(tmp_path / "cifar-10-batches-py", files | junk)
    assert_is_cifar10(load("cifar10", tmp_path))


def test_of_two_copies_in_an_archive_the_official_folder_counts(tmp_path):
    wrong = {name.replace("cifar-10-batches-py", "old/try"): b"wrong" for name in NAMED}
    pack_tar(tmp_path / "cifar-10-python.tar.gz", wrong | NAMED)
    assert_is_cifar10(load("cifar10", tmp_path))


@pytest.mark.parametrize("extracted", [False, True])
def test_files_that_were_not_shown_to_be_damaged_are_not_to_be_deleted(tmp_path, extracted):
    files = make_cifar10_files()
    del files["data_batch_2"]
    if extracted:
        write_folder(tmp_path / "cifar-10-batches-py", files)
    else:
        write_cifar10(tmp_path, files)
    with pytest.raises(UserError, match="data_batch_2 missing. Get the official archive") as error:
        load("cifar10", tmp_path)
    assert "elete" not in str(error.value)


def test_only_the_official_archive_is_compared_with_its_published_hash(tmp_path):
    pack_zip(tmp_path / "cifar-10-python.zip", NAMED)
    assert ARCHIVES["cifar10"](tmp_path) == {tmp_path / "cifar-10-python.zip": None}
    write_archive(tmp_path / "cifar-10-python (1).tar.gz", "a", {})
    assert set(ARCHIVES["cifar10"](tmp_path).values()) == {"c58f30108f718f92721af3b95e74349a"}


def encode(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def assert_is_mnist(dataset) -> None:
    assert (dataset.train.images == TRAIN[..., None]).all()
    assert (dataset.test.images == TEST[..., None]).all()
    assert dataset.train.labels.tolist() == FILES["train-labels-idx1-ubyte"].tolist()


@pytest.mark.parametrize("name, home", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.parametrize(
    "pattern",
    [
        *("{home}/raw/{dotted}", "{home}/{stem}/{stem}", "{home}/raw/{stem} (1)", "{dotted}.gz"),
        *("{home}/{dotted}/{stem}", "raw/{stem}.gz", "{upper}", "{home}/{home}/{stem}.gz"),
    ],
)
def test_mnist_files_of_other_names_and_folders_are_read(tmp_path, name, home, pattern):
    for stem, array in FILES.items():
        dotted = "-idx".join(stem.split("-idx")).replace("-idx", ".idx")
        path = tmp_path / pattern.format(home=home, stem=stem, dotted=dotted, upper=stem.upper())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(encode(array)) if path.suffix == ".gz" else encode(array))
    assert_is_mnist(load(name, tmp_path))


@pytest.mark.parametrize(
    "name, archive",
    [
        *(("mnist", "mnist.zip"), ("fashion_mnist", "fashion-mnist.tar.gz")),
        *(("mnist", "archive.zip"), ("fashion_mnist", "archive (1).zip")),
    ],
)
@pytest.mark.parametrize("inner", ["{stem}", "raw/{stem}.gz", "{stem}/{stem}"])
def test_mnist_archives_are_read(tmp_path, name, archive, inner):
    files = {
        inner.format(stem=stem): gzip.compress(encode(array)) if ".gz" in inner else encode(array)
        for stem, array in FILES.items()
    }
    (pack_zip if archive.endswith(".zip") else pack_tar)(tmp_path / archive, files)
    assert_is_mnist(load(name, tmp_path))


@pytest.mark.parametrize("asked, first", [("mnist", "9003027255"), ("fashion_mnist", "5041921314")])
def test_files_of_the_other_mnist_are_refused(tmp_path, asked, first):
    labels = np.array([int(digit) for digit in first], np.uint8)
    files = {**FILES, "train-labels-idx1-ubyte": labels}
    files["train-images-idx3-ubyte"] = np.zeros((10, 28, 28), np.uint8)
    for stem, array in files.items():
        (tmp_path / stem).write_bytes(encode(array))
    with pytest.raises(UserError, match=f"ubyte is of .*, not of {asked}: both have files of"):
        load(asked, tmp_path)
    other = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}[asked]
    assert load(other, tmp_path).train.labels.tolist() == labels.tolist()


def measure(call) -> tuple[float, int]:
    """Return the seconds and the most bytes of a call that raises an error."""
    tracemalloc.start()
    begun = time.monotonic()
    with pytest.raises((UserError, pickle.UnpicklingError)):
        call()
    seconds, (_, most) = time.monotonic() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds, most


def build_array(shape: bytes, kind: bytes = b"U\x02u1") -> bytes:
    """Return a pickle of an array with the opcodes `shape`, without its bytes."""
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
    return start + b"(K\x01" + shape + b"cnumpy\ndtype\n" + kind + b"K\0K\x01\x87R\x89U\x00tb."


HUGE = b"\x8a\x06" + (10**12).to_bytes(6, "little")


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02K\x01r" + struct.pack("<I", 180_000_000) + b".",  # A table of 2.9 GB.
        b"\x80\x02K\x01p180000000\n.",
        b"\x80\x02K\x01r" + struct.pack("<I", 2**32 - 1) + b".",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",  # A bytearray.
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x02T" + struct.pack("<i", -1) + b".",
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        b"\x80\x02)" + b"\x85" * 100_000 + b".",  # Nested tuples overflow the stack of C.
        b"\x80\x02" + b"](" * 50_000 + b".",
        build_array(HUGE + b"\x85"),
        build_array(HUGE + b"\x85", b"U\x01O"),
        build_array(b"K\x00\x85", b"U\x0bS2000000000"),
        b"\x80\x02cnumpy\nndarray\n" + HUGE + b"\x85R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + HUGE
        + b"\x85K\0\x87R.",
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aU\x03zip\x86R.",
    ],
)
def test_pickles_that_ask_for_gigabytes_are_refused_without_them(pickled):
    seconds, most = measure(lambda: load_arrays(pickled))
    assert seconds < 5 and most < 20e6


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
def test_pickled_batches_of_every_protocol_are_read(protocol, order):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    rows = np.asarray(make_rows(images), order=order)
    loaded = load_arrays(pickle.dumps({b"data": rows, b"labels": np.arange(3)}, protocol))
    assert (loaded[b"data"] == rows).all() and loaded[b"labels"].tolist() == [0, 1, 2]
    assert load_arrays(pickle_as_python2(images, labels=[1, 2, 3]))[b"labels"] == [1, 2, 3]


@pytest.mark.parametrize("rows", [10**6, 2**32 - 1])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_headers_that_declare_gigabytes_are_refused_without_them(tmp_path, rows, zipped):
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, rows, 2**16, 2**16) + bytes(100)
    (tmp_path / "a").write_bytes(gzip.compress(content) if zipped else content)
    seconds, most = measure(lambda: read_idx(tmp_path / "a", ndim=3))
    assert seconds < 5 and most < 20e6


def test_a_gzip_file_that_does_not_end_is_read_as_far_as_its_header_says(tmp_path):
    """Append further members, a thousand times the file, after the size in the header."""
    content = encode(TRAIN)
    (tmp_path / "a").write_bytes(gzip.compress(content) + gzip.compress(bytes(200 << 20), 9))
    seconds, most = measure(lambda: read_idx(tmp_path / "a", ndim=3))
    assert seconds < 5 and most < 20e6


def test_an_idx_file_in_memory_is_read_like_one_on_disk(tmp_path):
    for content in (encode(TRAIN), gzip.compress(encode(TRAIN))):
        (tmp_path / "a").write_bytes(content)
        assert (read_idx(tmp_path / "a", ndim=3) == TRAIN).all()
        assert (read_idx(tmp_path / "b", ndim=3, content=io.BytesIO(content).read()) == TRAIN).all()


@pytest.mark.parametrize("labels", [list, np.uint8])
def test_batches_that_python_3_wrote_again_are_read(tmp_path, labels):
    def write(images: np.ndarray, **given: list[int]) -> bytes:
        rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        return pickle.dumps(
            {
                "data": rows.copy(),
                "labels": np.array(given["labels"], labels)
                if labels is not list
                else given["labels"],
            }
        )

    write_cifar10(tmp_path, make_cifar10_files(write))
    assert_is_cifar10(load("cifar10", tmp_path))
