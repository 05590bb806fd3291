"""Export a program to an ONNX file of standard operators, bit-exact in onnxruntime."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pit_jax
from pit_jax import artifact
from pit_jax.artifact import ArtifactError
from pit_jax.export.errors import import_extra
from pit_jax.export.inputs import DTYPES, NORMALIZED, PIXELS, choose_input, read_input
from pit_jax.inference.program import SpikingProgram
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.pixels import InputReader
from pit_jax.paths import read_path
from pit_jax.reading import reading

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # From 2022, so that current runtimes read them.
AGAIN = "Export it again."
HOLDS = {
    PIXELS: "raw pixels, which this file normalizes",
    NORMALIZED: "values as the network takes them",
}
# The types of inputs in onnxruntime.
INPUT_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


def to_onnx(
    program: SpikingProgram,
    path: str | os.PathLike[str],
    *,
    frames: bool = False,
    input: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write all steps of the program to an ONNX file and its hash to `path` + ".sha256".

    The input `x` has images `[B, H, W, C]`, or with `frames` `[B, T, H, W, C]`. `input` is "pixels"
    for uint8, which the file normalizes, or "normalized" for float32 as the network takes them; by
    default "pixels" if the program was compiled with `mean` and `std`. The output `logits` is
    `[B, K]` float32. `sha256sum -c` reads the hash file. Raises ArtifactError if one of the files
    exists and `overwrite` is False.
    """
    input = choose_input(program, input)
    path = read_path(path)
    artifact.check_file_free(path, overwrite)
    artifact.check_file_free(_get_hash_path(path), overwrite)
    # Deterministic, so that the hash depends on the program alone.
    content = _make_model(program, frames, input).SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The hash comes first, so that after an interruption the old file does not match it.
    line = artifact.make_hash_line(content, path.name)
    artifact.replace_file(_get_hash_path(path), lambda part: part.write_bytes(line))
    artifact.replace_file(path, lambda part: part.write_bytes(content))


def load_onnx(path: str | os.PathLike[str]) -> Callable[[Any], np.ndarray]:
    """Return the file as a function from x to logits that onnxruntime runs on the CPU.

    The function refuses inputs of another type than the file's, uint8 or floats.
    Raises ArtifactError when the file or its .sha256 file is missing, changed or truncated.
    """
    onnxruntime = import_extra("onnxruntime", "onnx", "run an ONNX file")
    path = read_path(path)
    with reading(path, "an ONNX file that can be read", error=ArtifactError):
        content = artifact.read_bytes(path)
    with reading(_get_hash_path(path), "its hash", error=ArtifactError):
        line = artifact.read_bytes(_get_hash_path(path))
    if line != artifact.make_hash_line(content, path.name):
        raise ArtifactError(
            f"{path} does not match its .sha256 file; get another copy, or export it again."
        )
    with reading(path, "an ONNX file of this package", error=ArtifactError, advice=AGAIN):
        # On other devices sums may be rounded, for example to TF32.
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (x,), (logits,) = session.get_inputs(), session.get_outputs()
        if (x.name, logits.name) != ("x", "logits") or x.type not in INPUT_TYPES:
            raise ArtifactError(f"{path} does not map x to logits. {AGAIN}")
        shape, dtype = tuple(x.shape[1:]), INPUT_TYPES[x.type]
        # Files from before this entry have no largest input.
        known = session.get_modelmeta().custom_metadata_map.get("largest_input")
        largest = None if known is None else float(known)

    def run(x: Any) -> np.ndarray:
        images = np.asarray(read_input(x, shape, dtype, largest))
        with reading(path, "an ONNX file of this package", error=ArtifactError, advice=AGAIN):
            (logits,) = session.run(None, {"x": images})
        return np.asarray(logits)

    return run


def _make_model(program: SpikingProgram, frames: bool, input: str) -> "onnx.ModelProto":
    onnx = import_extra("onnx", "onnx", "write an ONNX file")
    from pit_jax.export.onnx_graph import Graph
    from pit_jax.export.onnx_step import StepWriter

    pixels, last = program.nodes[0], program.nodes[-1]
    assert isinstance(pixels, nodes.Pixels) and isinstance(last, nodes.Accumulator)
    graph = Graph()
    reader = InputReader(pixels, program.normalization)
    table = reader.compute_integers() if input == PIXELS else None
    steps = StepWriter(graph, program.nodes, program.num_steps, table)
    currents = []
    for t in range(program.num_steps):
        at = graph.emit("Gather", "x", graph.constant(t, np.int64), axis=1) if frames else "x"
        currents.append(steps.add_step(at, t))
    total = graph.cast_to_float(graph.sum(currents))
    # The same two roundings as in the program: the cast of the sum, and one product in float32.
    mean = graph.constant(last.unit.item() / program.num_steps, np.float32)
    graph.nodes.append(onnx.helper.make_node("Mul", [total, mean], ["logits"], "logits"))

    shape = (program.num_steps, *pixels.shape) if frames else pixels.shape
    dtype = np.dtype(DTYPES[input])
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "spiking_program",
            [value("x", onnx.helper.np_dtype_to_tensor_dtype(dtype), ["B", *shape])],
            [value("logits", onnx.TensorProto.FLOAT, ["B", *last.shape])],
            graph.initializers,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pit_jax",
        producer_version=pit_jax.__version__,
    )
    about = {
        "pit_jax": pit_jax.__version__,
        "program": program.fingerprint,
        "initializers_sha256": _hash_initializers(graph.initializers),
        "num_steps": str(program.num_steps),
        "input": f"x [B, {', '.join(map(str, shape))}], {dtype}, {HOLDS[input]}",
        "input_unit": repr(pixels.unit),
        "largest_input": repr(reader.largest),
        "output": "logits [B, K], float32, the mean over the steps",
    }
    if known := program.normalization:
        about["normalization"] = json.dumps({"mean": known.mean, "std": known.std})
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model, full_check=True)
    return model


def _hash_initializers(initializers: list[Any]) -> str:
    """Return a hash of the names and contents of all tensors in order."""
    return artifact.hash_parts(
        tensor.SerializeToString(deterministic=True) for tensor in initializers
    )


def _get_hash_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
