"""Without the optional packages, ONNX exports raise an error that names what to install."""

import sys
from functools import partial

import pytest

from pit_jax import neurons
from pit_jax.export import load_onnx, to_onnx
from pit_jax.inference import compile
from tests.inference.networks import make_firing_network


def test_without_onnx_an_error_names_the_extra(tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    model, variables, x = make_firing_network("resnet8", partial(neurons.PIT, levels=2), 1)
    program = compile(model, variables, x, verify=False)
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[onnx\]'"):
        to_onnx(program, tmp_path / "program.onnx")
    with pytest.raises(ImportError, match=r"pip install 'pit-jax\[onnx\]'"):
        load_onnx(tmp_path / "program.onnx")
    assert not list(tmp_path.iterdir())
