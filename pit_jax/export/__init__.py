"""Export programs to other tools, bit for bit or not at all.

Each format has its own file: stablehlo.py, onnx.py (with onnx_graph.py and onnx_step.py) and
nir.py. The format `directory` is `SpikingProgram.save` (inference/storage.py). nir_writer.py
converts neurons to NIR (`_add_neurons`); nir_reader.py converts NIR graphs to networks.
"""

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
