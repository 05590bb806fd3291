"""Programs for other tools: an export computes what the program computes, or is refused.

One file for each format: stablehlo.py, onnx.py (with onnx_graph.py and onnx_step.py) and nir.py.
The format `directory` is `SpikingProgram.save` (inference/storage.py). What a neuron becomes in NIR
is in nir_writer.py (`_add_neurons`), the way back from a NIR graph in nir_reader.py.
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
