"""Files are written completely or not at all, and hashes equal those of other programs."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from pit_jax import artifact


def fail(part: Path) -> None:
    part.write_bytes(b"half")
    raise OSError("the disk is full")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "program.onnx"
    artifact.replace_file(file, lambda part: part.write_bytes(b"old"))
    with pytest.raises(OSError, match="full"):
        artifact.replace_file(file, fail)
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]


def test_bytes_parts_and_file_of_equal_content_have_the_same_hash(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert artifact.hash_bytes(b"content") == expected
    assert artifact.hash_parts([b"con", b"tent"]) == expected
    assert artifact.hash_file(tmp_path / "file") == expected
    assert artifact.make_hash_line(b"content", "file") == f"{expected}  file\n".encode()


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs GNU sha256sum")
@pytest.mark.parametrize("name", ["a\nb", "a\\b", "a\\nb", " a ", "*a", "é"])
def test_sha256sum_reads_the_line_of_a_file_of_any_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"content")
    line = artifact.make_hash_line(b"content", name)
    command = ["sha256sum", "--check", "--status"]
    subprocess.run(command, input=line, cwd=tmp_path, check=True)
