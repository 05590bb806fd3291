"""ONNX exports before the optional packages are needed, and without them."""

import sys

import pytest

from pit_jax import neurons
from pit_jax.artifact import ArtifactError
from pit_jax.export import load_onnx, to_onnx
from tests.export.graphs import make_program


def test_without_onnx_an_error_names_the_extra(tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    program, _ = make_program("resnet8", neurons.IF, 1)
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[onnx\]'"):
        to_onnx(program, tmp_path / "program.onnx")
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[onnx\]'"):
        load_onnx(tmp_path / "program.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["program.onnx", "program.onnx.sha256"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_neither_the_file_nor_its_hash_file_replaces_another(tmp_path, monkeypatch, name, kind):
    monkeypatch.setattr("pit_jax.export.onnx._make_model", None)  # Refused before the work.
    program, _ = make_program("resnet8", neurons.IF, 1)
    there = tmp_path / name
    {
        "file": lambda: there.write_text("mine"),
        "folder": there.mkdir,
        "link": lambda: there.symlink_to("gone"),
    }[kind]()
    with pytest.raises(ArtifactError, match=f"{name} (already exists|is a folder); choose"):
        to_onnx(program, tmp_path / "program.onnx")
    if kind == "folder":
        with pytest.raises(ArtifactError, match=f"{name} is a folder; choose"):
            to_onnx(program, tmp_path / "program.onnx", overwrite=True)
    assert list(tmp_path.iterdir()) == [there]
