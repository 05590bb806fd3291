"""Programs for other tools: what is exported computes what the program does, or is refused."""

from pit_jax.export.errors import NotInNIR
from pit_jax.export.nir import from_nir, to_nir
from pit_jax.export.onnx import load_onnx, to_onnx
from pit_jax.export.stablehlo import load_stablehlo, to_stablehlo

__all__ = [
    "NotInNIR",
    "from_nir",
    "load_onnx",
    "load_stablehlo",
    "to_nir",
    "to_onnx",
    "to_stablehlo",
]
