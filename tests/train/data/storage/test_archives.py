"""Members of archives: names of every origin, wrong sizes, bombs, links and checksums."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from pit_jax.reading import FileError
from train.data.storage.archives import DamagedArchive, iterate_files, read_named
from train.data.storage.names import find_entry, is_system_file, normalize_member, simplify
from train.data.storage.tar import list_members
from train.errors import UserError


def pack_tar(path: Path, names: dict[str, bytes], mode: str = "w:gz", **options) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pack_zip(path: Path, names: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return path


def read_all(archive: Path) -> dict[str, bytes]:
    return {str(entry.name): entry.read() for entry in iterate_files(archive)}


@pytest.mark.parametrize(
    "written", ["a/b.txt", "./a/b.txt", "/a/b.txt", "a\\b.txt", "C:\\a\\b.txt", "a//./b.txt"]
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_member_names_of_every_system_are_normalized(tmp_path, written, kind):
    pack = pack_tar if kind == "tar" else pack_zip
    assert read_all(pack(tmp_path / "archive", {written: b"x"})) == {"a/b.txt": b"x"}


@pytest.mark.parametrize("written", ["../b.txt", "a/../../b.txt", "..\\b.txt", "/../b.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_member_names_that_lead_out_of_the_archive_are_refused(tmp_path, written, kind):
    pack = pack_tar if kind == "tar" else pack_zip
    archive = pack(tmp_path / "archive", {written: b"x"})
    with pytest.raises(FileError, match="outside of the archive"):
        read_all(archive)


def test_member_names_have_composed_accents():
    assert str(normalize_member(Path("a"), "e\u0301t\u00e9")) == "\u00e9t\u00e9"


@pytest.mark.parametrize(
    "name",
    [
        *("._a", "__MACOSX/a", "a/.DS_Store", "Thumbs.db", "desktop.ini", "@eaDir/a", "a/.git/b"),
        *("$RECYCLE.BIN/a", "System Volume Information/a", ".ipynb_checkpoints/a", "lost+found/a"),
    ],
)
def test_files_of_systems_are_skipped(tmp_path, name):
    assert is_system_file(name) and not is_system_file("./a/b.txt")
    assert read_all(pack_tar(tmp_path / "archive", {name: b"x", "b": b"y"})) == {"b": b"y"}


@pytest.mark.parametrize(
    "copy", ["a (1).tar.gz", "a.tar (1).gz", "a(2).tar.gz", "A.TAR.GZ", "a - Copy.tar.gz"]
)
def test_copies_and_other_cases_are_found(tmp_path, copy):
    (tmp_path / copy).write_bytes(b"")
    assert find_entry(tmp_path, "a.tar.gz") == tmp_path / copy
    assert simplify("a.tar.gz") == "a.tar.gz" != simplify("aa.tar.gz")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    assert find_entry(tmp_path, "a.tar.gz") == tmp_path / "a.tar.gz"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_form_and_compression_are_read(tmp_path, mode, form):
    long = f"{'d' * 90}/{'e' * 40}.txt"
    names = {"a": b"x" * 600, long: b"yy", "b": b""}
    assert read_all(pack_tar(tmp_path / "archive", names, mode, format=form)) == names


def test_long_and_foreign_names_are_read_from_records(tmp_path):
    names = {f"{'é' * 200}/ß": b"1", "x" * 300: b"2"}
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert read_all(pack_tar(tmp_path / "archive", names, format=form)) == names


def make_header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[: len(name)] = name.encode()
    header[124:136] = size
    header[156:157] = kind
    header[257:263] = b"ustar\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def encode_size(size: int) -> bytes:
    return b"%011o\0" % size if size >= 0 else b"\xff" + size.to_bytes(11, "big", signed=True)


@pytest.mark.parametrize(
    "archive, message",
    [
        (make_header("a", encode_size(-1024)), "a size of -1024 bytes"),
        (make_header("a", encode_size(-512)) * 3, "a size of -512 bytes"),
        (make_header("a", b"\x80" + (2**80).to_bytes(11, "big")), "ends at byte"),
        (make_header("a", encode_size(10**9)), "ends at byte|ends within a file"),
        (make_header("a", b"\x80" + b"\xff" * 11, b"5") + b"x" * 512, "expected a tar header"),
        (make_header("a", encode_size(2**17), b"x") + bytes(2**17), "a name at byte 0 has 131072"),
        (
            make_header("a", encode_size(18), b"x") + b"18 size=-99999999\n".ljust(512),
            "the size '-9",
        ),
        (make_header("a", encode_size(9), b"x") + b"99 size=5\n".ljust(512), "a POSIX record"),
        (make_header("a", encode_size(9), b"x") + b"0 a=bcdef".ljust(512), "a POSIX record"),
        (make_header("a", encode_size(5), b"S") + bytes(512), "sparse file"),
        (make_header("a", b"notanumber!\0"), "expected a tar header"),
        (b"", "it is truncated"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_wrong_tar_sizes_are_refused_at_once(tmp_path, archive, message, compress):
    (tmp_path / "a.tar").write_bytes(compress(archive + bytes(1024) if archive else archive))
    begun = time.monotonic()
    with pytest.raises(DamagedArchive, match=message):
        read_all(tmp_path / "a.tar")
    assert time.monotonic() - begun < 5


def test_devices_folders_and_pipes_have_no_content(tmp_path):
    content = b"".join(make_header(kind, encode_size(512), kind.encode()) for kind in "3456")
    content += make_header("file", encode_size(3)) + b"abc".ljust(512, b"\0") + bytes(1024)
    (tmp_path / "a.tar").write_bytes(content)
    assert read_all(tmp_path / "a.tar") == {"file": b"abc"}


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_links_are_refused_when_their_content_is_needed(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("data_batch_1")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("other"))
    assert [str(entry.name) for entry in iterate_files(tmp_path / "a.tar")] == [
        "data_batch_1",
        "other",
    ]
    with pytest.raises(UserError, match="data_batch_1 as a link. Pack the files themselves"):
        read_named(tmp_path / "a.tar", ["data_batch_1"], "")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
def test_a_flipped_bit_in_a_compressed_tar_is_refused(tmp_path, compress, place):
    noise = bytes((i * i) % 251 for i in range(5000))
    content = bytearray(compress(pack_tar(tmp_path / "t", {"a": noise}, "w").read_bytes()))
    content[int(place * len(content))] ^= 8
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DamagedArchive):
        read_all(tmp_path / "a.tar")


def test_a_flipped_bit_in_the_checksum_of_gzip_is_refused(tmp_path):
    archive = pack_tar(tmp_path / "a.tar.gz", {"a": b"x" * 5000})
    content = bytearray(archive.read_bytes())
    content[-7] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DamagedArchive, match="CRC check failed"):
        read_all(archive)
    archive.write_bytes(content[:-8])
    with pytest.raises(DamagedArchive, match="end-of-stream"):
        read_all(archive)


def test_a_flipped_bit_in_a_stored_zip_is_refused_also_if_it_is_read_in_part(tmp_path):
    archive = pack_zip(tmp_path / "a.zip", {"a": b"x" * 5000, "b": b"y"}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"x" * 4000, b"x" * 3999 + b"z"))
    with pytest.raises(DamagedArchive, match="CRC-32"):
        for entry in iterate_files(archive):
            entry.read(10)


def test_bombs_are_refused_without_expanding_them(tmp_path):
    bomb = gzip.compress(bytes(64 << 20), 9)  # A thousandth.
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(make_header("a", encode_size(2**33))) + bomb)
    begun = time.monotonic()
    with pytest.raises(DamagedArchive, match="from its size it cannot be above"):
        read_all(tmp_path / "a.tar.gz")
    assert time.monotonic() - begun < 5


def test_zips_whose_members_overlap_are_refused(tmp_path):
    """Let 50 entries of the directory share one content, as in the bombs of David Fifield."""
    archive = pack_zip(tmp_path / "a.zip", {"aa": bytes(i * i % 251 for i in range(9999))})
    raw = archive.read_bytes()
    start = raw.rindex(b"PK\1\2")
    end = raw.rindex(b"PK\5\6")
    entries = b"".join(raw[start:end].replace(b"aa", b"%02d" % i) for i in range(50))
    tail = bytearray(raw[end:])
    struct.pack_into("<HHII", tail, 8, 50, 50, len(entries), start)
    archive.write_bytes(raw[:start] + entries + tail)
    with pytest.raises(DamagedArchive, match="its members declare"):
        read_all(archive)


def test_a_zip_that_declares_terabytes_is_refused(tmp_path):
    archive = pack_zip(tmp_path / "a.zip", {"a": b"x" * 100})
    raw = bytearray(archive.read_bytes())
    struct.pack_into("<I", raw, raw.rindex(b"PK\1\2") + 24, 2**32 - 2)
    archive.write_bytes(raw)
    with pytest.raises(DamagedArchive, match="its members declare"):
        read_all(archive)


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"7z\xbc\xaf'\x1c", "a 7z archive"),
        (b"Rar!\x1a\x07", "a rar archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs"),
    ],
)
def test_files_that_are_no_archives_are_named_as_what_they_are(tmp_path, content, kind):
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(UserError, match=f"a.tar.gz is {kind}, which is not read"):
        read_all(tmp_path / "a.tar.gz")


def test_the_members_of_an_inner_archive_end_with_it():
    inner = make_header("a", encode_size(2000)) + bytes(1024)
    with pytest.raises(ValueError, match="a at byte 512 ends at byte 3024, but the archive stops"):
        list(list_members(io.BytesIO(bytes(512) + inner + bytes(9999)), 512, 512 + len(inner)))
