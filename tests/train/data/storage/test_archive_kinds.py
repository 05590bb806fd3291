"""Archives that are whole but of another kind: named as such, and never to be deleted."""

import gzip
import io
import struct
import tarfile
import time
import zipfile
import zlib

import pytest

from tests.train.data.images.test_cifar import assert_is_cifar10, make_cifar10_files
from train.data import load
from train.data.images.cifar import cifar10
from train.errors import UserError

CIFAR_FILES = {f"cifar-10-batches-py/{name}": raw for name, raw in make_cifar10_files().items()}


def pack_tar(mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in CIFAR_FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def pack_zip(*, method: int = 8, flags: int = 0) -> bytes:
    """Return a zip whose headers declare another method of compression, or flags."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CIFAR_FILES.items():
            archive.writestr(name, content)
    content = bytearray(file.getvalue())
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        found = content.find(magic)
        while found >= 0:
            content[found + at : found + at + 4] = struct.pack("<HH", flags, method)
            found = content.find(magic, found + 4)
    return bytes(content)


KINDS = {
    "encrypted": (lambda: pack_zip(flags=1), "is encrypted"),
    "Deflate64 of Windows": (lambda: pack_zip(method=9), "is packed by method 9"),
    "zstd in a zip": (lambda: pack_zip(method=93), "is packed by method 93"),
    "a part of a zip": (lambda: b"PK\7\x08" + pack_zip(), "is a part of a split zip"),
    "a program": (lambda: b"MZ" + bytes(500) + pack_zip(), "is a program"),
    "compressed twice": (lambda: gzip.compress(pack_tar()), "has another archive in it"),
    "a zip in a gz": (lambda: gzip.compress(pack_zip()), "has another archive in it"),
    "lz4": (lambda: b"\x04\x22\x4d\x18" + pack_tar("w"), "is an lz4 archive"),
    "compress": (lambda: b"\x1f\x9d\x90" + pack_tar("w"), "is a .Z archive"),
    "an answer of a server": (lambda: b'{"error": "quota"}', "is no tar or zip archive"),
    "text": (lambda: b"hello " * 1000, "is no tar or zip archive"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_archives_of_other_kinds_are_named_and_not_to_be_deleted(tmp_path, kind):
    make, message = KINDS[kind]
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(make())
    with pytest.raises(UserError, match=message) as error:
        cifar10(tmp_path)
    assert "cifar-10-python.tar.gz" in str(error.value) and "elete" not in str(error.value)


def test_a_tar_of_millions_of_headers_is_refused_within_seconds(tmp_path):
    packer, header = zlib.compressobj(1, zlib.DEFLATED, 31), tarfile.TarInfo("a").tobuf()
    parts = [packer.compress(1000 * header) for _ in range(1000)]
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"".join([*parts, packer.flush()]))
    began = time.process_time()
    with pytest.raises(UserError, match="more than 150,000 headers"):
        cifar10(tmp_path)
    assert time.process_time() - began < 10


def test_archives_that_expand_to_more_than_cifar_are_refused(tmp_path):
    size = 100_000 * 3073
    member = tarfile.TarInfo("data_batch_1.bin")
    member.size = size
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = [packer.compress(member.tobuf())]
    parts += [packer.compress(bytes(307_300)) for _ in range(1000)]
    parts += [packer.compress(bytes(-size % 512 + 1024)), packer.flush()]
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"".join(parts))
    with pytest.raises(UserError, match="cifar-10-binary.tar.gz: the files .* 307,300,000 bytes"):
        cifar10(tmp_path)


@pytest.mark.parametrize("name", ["cifar10.zip", "cifar-10.zip", "cifar10-python.zip"])
def test_archives_named_after_the_data_set_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(pack_zip())
    assert_is_cifar10(cifar10(tmp_path))


def test_a_file_in_place_of_the_folder_of_data_is_refused(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(UserError, match="data_dir must be a folder, and .*data is a file"):
        load("cifar10", tmp_path / "data")
