"""Without the optional packages, ONNX exports raise an error that names what to install."""

import sys

import pytest

from pit_jax import neurons
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
