"""Extractions: by one process, whole, checked by their manifest, and damage in the middle."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pytest

from tests.train.data.storage.test_archives import pack_tar, pack_zip
from tests.train.helpers import ROOT
from train.data.storage.archives import DamagedArchive
from train.data.storage.extracted import MANIFEST, check_contents, extract_once, is_whole
from train.data.storage.lock import hold_lock
from train.errors import UserError

FILES = {f"data/{i}.npy": bytes([i]) * 1000 for i in range(20)}
PROGRAM = """
import sys, time
from pathlib import Path
from train.data.storage import extracted

extract, seconds = extracted._extract, float(sys.argv[3])
def extract_slowly(*arguments):
    time.sleep(seconds)
    return extract(*arguments)
extracted._extract = extract_slowly
extracted.extract_once(Path(sys.argv[1]), Path(sys.argv[2]), {".npy"})
print(len(list(Path(sys.argv[2]).glob("*.npy"))))
"""


@pytest.fixture
def archive(tmp_path):
    return pack_tar(tmp_path / "data.tar.gz", FILES)


def start(archive: Path, folder: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a program that extracts, with a pause before each file."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(archive), str(folder), str(seconds)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count(folder: Path) -> int:
    return len(list(folder.glob("*.npy")))


def test_two_processes_that_extract_one_archive_both_see_all_files(archive, tmp_path):
    folder = tmp_path / "cache" / "data"
    both = [start(archive, folder, 0.05) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [out.strip() for out, _ in outputs] == ["20", "20"]
    errors = "".join(err for _, err in outputs)
    assert errors.count("extracting ") == 1 and errors.count("waiting for another process") <= 1
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["data"]


def test_two_threads_that_extract_one_archive_both_see_all_files(archive, tmp_path):
    folder, seen = tmp_path / "cache" / "data", []

    def extract():
        extract_once(archive, folder, {".npy"})
        seen.append(count(folder))

    threads = [threading.Thread(target=extract) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == [20] * 4


def test_without_locks_two_processes_still_leave_a_whole_folder(archive, tmp_path, monkeypatch):
    monkeypatch.setattr("train.data.storage.lock.fcntl", None)
    folder = tmp_path / "cache" / "data"
    threads = [
        threading.Thread(target=extract_once, args=(archive, folder, {".npy"})) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert is_whole(folder) and count(folder) == 20


def test_a_killed_extraction_leaves_nothing_under_the_final_name(archive, tmp_path):
    folder = tmp_path / "cache" / "data"
    process = start(archive, folder, 0.05)
    while not list(tmp_path.glob("cache/*.part/*.npy")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL and not folder.exists()
    extract_once(archive, folder, {".npy"})
    assert count(folder) == 20
    # What the killed process left is gone.
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["data"]


@pytest.mark.parametrize("how", ["missing", "shorter", "manifest", "no manifest", "other archive"])
def test_an_extraction_that_is_not_whole_is_made_again(archive, tmp_path, how):
    folder = tmp_path / "cache" / "data"
    extract_once(archive, folder, {".npy"})
    if how == "missing":
        (folder / "3.npy").unlink()
    elif how == "shorter":
        (folder / "3.npy").write_bytes(b"")
    elif how == "manifest":
        (folder / MANIFEST).write_text("[]")
    elif how == "no manifest":  # The folder of an older version, whose extraction was killed.
        (folder / MANIFEST).unlink()
        (folder / "3.npy").unlink()
    else:
        pack_tar(archive, {f"data/{i}.npy": b"new" for i in range(20)})
    extract_once(archive, folder, {".npy"})
    expected = b"new" if how == "other archive" else FILES["data/3.npy"]
    assert (folder / "3.npy").read_bytes() == expected and count(folder) == 20
    # A folder that may be the user's is never deleted.
    assert (tmp_path / "cache" / "data.0.old").exists() == (how == "no manifest")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_a_flipped_bit_in_the_middle_of_an_archive_leaves_no_folder(archive, tmp_path, place):
    content = bytearray(archive.read_bytes())
    content[int(place * len(content))] ^= 2
    archive.write_bytes(content)
    with pytest.raises(DamagedArchive):
        extract_once(archive, tmp_path / "cache" / "data", {".npy"})
    assert not list((tmp_path / "cache").iterdir())


def test_a_flipped_bit_in_an_extracted_file_is_refused_when_it_is_read(archive, tmp_path):
    folder = tmp_path / "cache" / "data"
    extract_once(archive, folder, {".npy"})
    read = check_contents(lambda source: source.read(), folder)
    assert read(folder / "3.npy") == FILES["data/3.npy"]
    content = bytearray(FILES["data/3.npy"])
    content[500] ^= 1
    (folder / "3.npy").write_bytes(content)
    with pytest.raises(UserError, match="3.npy has changed since it was extracted"):
        read(folder / "3.npy")


@pytest.mark.parametrize(
    "files, endings",
    [
        ({"1.npy": b"1"}, {".npy"}),
        ({"./data/1.npy": b"1", "data/README.md": b""}, {".npy"}),
        ({"other/Data/1.npy": b"1"}, {".npy"}),
        ({"data/1.NPY": b"1", "__MACOSX/data/._1.npy": b"2"}, {".npy"}),
    ],
)
@pytest.mark.parametrize("pack", [pack_tar, pack_zip])
def test_the_folder_around_the_files_is_removed_from_paths(tmp_path, files, endings, pack):
    extract_once(pack(tmp_path / "archive", files), tmp_path / "data", endings)
    assert [p.name.lower() for p in (tmp_path / "data").iterdir() if p.name != MANIFEST] == [
        "1.npy"
    ]


def test_a_disk_that_cannot_be_written_is_one_sentence(archive, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot extract .*choose another folder with"):
        extract_once(archive, tmp_path / "file" / "data", {".npy"})


def test_a_waiting_process_says_so_and_continues(tmp_path, capsys):
    entered = threading.Event()
    release = threading.Event()

    def hold():
        with hold_lock(tmp_path / "a", "works"):
            entered.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    threading.Timer(0.3, release.set).start()
    with hold_lock(tmp_path / "a", "makes the cache"):
        assert release.is_set()
    thread.join()
    assert capsys.readouterr().err == "waiting for another process that makes the cache\n"
    assert not list(tmp_path.iterdir())


def test_the_manifest_has_size_and_checksum_of_each_file(archive, tmp_path):
    extract_once(archive, tmp_path / "data", {".npy"})
    manifest = json.loads((tmp_path / "data" / MANIFEST).read_text())
    assert len(manifest["files"]) == 20
    assert manifest["files"]["3.npy"] == [1000, zlib.crc32(FILES["data/3.npy"])]
