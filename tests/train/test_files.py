"""Files and folders appear complete or not at all, and hashes are SHA-256."""

import hashlib
import os
from itertools import count

import pytest

from pit_jax import signals
from train import files
from train.errors import UserError


@pytest.mark.parametrize("shared", [False, True])
def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch, shared):
    file = tmp_path / "file"
    files.write_atomically(file, "old", shared=shared)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr("os.fsync", refuse)
        files.write_atomically(file, "new", shared=shared)
    assert file.read_text() == "old"
    files.write_atomically(file, b"new", shared=shared)
    assert file.read_bytes() == b"new" and list(tmp_path.iterdir()) == [file]


def test_a_signal_during_a_write_leaves_no_part_of_a_shared_file(tmp_path, monkeypatch):
    def stop(*_):
        for function in signals._at_end:
            function()
        raise signals.Stopped(130)  # A program ends here.

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(signals.Stopped):
        files.write_atomically(tmp_path / "file", "new", shared=True)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    with pytest.raises(UserError) as error, files.explain_unwritable(out):
        files.write_atomically(out, "new")
    assert str(error.value) == f"cannot write {out} (Not a directory); choose another --out."


def test_the_temporary_file_of_a_shared_file_is_named_after_its_process(tmp_path):
    part = files.name_own_part(tmp_path / "file")
    assert part.parent == tmp_path and str(os.getpid()) in part.name


def test_lines_are_appended(tmp_path):
    for line in ("a", "b"):
        files.append_line(tmp_path / "lines", line)
    assert (tmp_path / "lines").read_text() == "a\nb\n"


def test_a_folder_appears_when_its_block_ends_and_replaces_an_old_one(tmp_path):
    folder = tmp_path / "folder"
    for content in ("old", "new"):
        with files.write_folder(folder) as part:
            (part / content).write_text(content)
            assert not (folder / content).exists()
    assert [file.name for file in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_two_writers_of_one_folder_or_file_have_private_names(tmp_path):
    with files.write_folder(tmp_path / "folder") as one:
        with files.write_folder(tmp_path / "folder") as other:
            assert one != other
            (other / "file").write_text("other")
        (one / "file").write_text("one")
    assert (tmp_path / "folder" / "file").read_text() == "one"


def test_parts_of_killed_processes_are_removed_and_others_kept(tmp_path):
    for name in ("a[1].77-abc.part", "a[1].part", "a1.77-abc.part"):
        (tmp_path / name).mkdir()
    (tmp_path / "a[1].78-abc.part").write_text("half")
    files.remove_parts(tmp_path / "a[1]")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].part", "a1.77-abc.part"}


def test_a_folder_whose_block_fails_does_not_appear(tmp_path):
    with pytest.raises(ZeroDivisionError), files.write_folder(tmp_path / "folder") as part:
        (part / "file").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_move_aside_takes_the_first_free_name(tmp_path):
    for number in range(3):
        (tmp_path / "path").write_text(str(number))
        aside = files.move_aside(tmp_path / "path", (tmp_path / f"old/{n}" for n in count()))
        assert aside == tmp_path / f"old/{number}" and aside.read_text() == str(number)


def test_hashes_are_the_sha256_of_all_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"some bytes")
    expected = hashlib.sha256(b"some bytes").hexdigest()
    assert files.hash_file(tmp_path / "file") == expected
    assert files.hash_content("some bytes") == files.hash_content(b"some bytes") == expected
    assert files.hash_chunks([b"some", b" bytes"]) == expected
    assert files.hash_file(tmp_path / "file", "md5") == hashlib.md5(b"some bytes").hexdigest()
