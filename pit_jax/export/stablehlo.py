"""Export a program to a StableHLO module for CPUs, GPUs and TPUs that needs only JAX.

`manifest["input"]` has the shape and the type of its input `x`, by default raw pixels of uint8. To
run it without pit_jax, compare the hash in `manifest.json`:

    import jax.export, json, pathlib, hashlib
    content = pathlib.Path("digits.stablehlo/program.stablehlo").read_bytes()
    manifest = json.loads(pathlib.Path("digits.stablehlo/manifest.json").read_text())
    known = manifest["files"]["program.stablehlo"]["sha256"]
    assert hashlib.sha256(content).hexdigest() == known  # JAX does not detect flipped bits.
    logits = jax.export.deserialize(bytearray(content)).call(x)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from pit_jax import artifact
from pit_jax.artifact import ArtifactError
from pit_jax.export.errors import import_extra
from pit_jax.export.inputs import DTYPES, choose_input, read_input
from pit_jax.inference import Report, SpikingProgram
from pit_jax.inference.runtime import nodes
from pit_jax.inference.storage import describe
from pit_jax.reading import quote_error

KIND, VERSION = "pit_jax.stablehlo", 1
MODULE = "program.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


@dataclass(frozen=True)
class StableHLO:
    """A loaded module and its manifest, which has `input`, `num_steps`, `about` and more."""

    exported: Any
    manifest: Mapping[str, Any]

    def __call__(self, x: Shaped[ArrayLike, "..."]) -> Float[Array, "B K"]:
        """Return logits of at least one sample of the shape and dtype in `manifest["input"]`."""
        shape, dtype = (self.manifest["input"][name] for name in ("shape", "dtype"))
        # Files from before this entry have no largest input.
        x = read_input(x, shape[1:], dtype, self.manifest.get("largest_input"))
        return self._call(jnp.asarray(x))

    @cached_property
    def _call(self) -> Any:
        # One jitted function for all calls, so that a batch size is compiled once.
        return jax.jit(self.exported.call)


def to_stablehlo(
    program: SpikingProgram,
    folder: str | os.PathLike[str],
    *,
    frames: bool = False,
    input: str | None = None,
    proof: Report | None = None,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write all steps of the program, with binary spikes, as one module for any batch size.

    The module maps images `[B, H, W, C]`, or with `frames` `[B, T, H, W, C]`, to logits `[B, K]`.
    `input` is "pixels" for uint8, which the module normalizes, or "normalized" for float32 as the
    network takes them; by default "pixels" if the program was compiled with `mean` and `std`. The
    manifest has `proof`, by default the one from compilation, and `about`, any JSON values. Raises
    ArtifactError as `SpikingProgram.save` does.
    """
    export = _import_jax_export()
    about = artifact.read_facts("about", about)
    artifact.check_free(folder, overwrite)
    proof = program.proof if proof is None else proof
    facts = describe(program, proof)
    first = program.nodes[0]
    assert isinstance(first, nodes.Pixels)
    shape = (program.num_steps, *first.shape) if frames else first.shape
    dtype = DTYPES[choose_input(program, input)]
    # A symbolic batch makes one module work for every batch size.
    (batch,) = export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, *shape), dtype)

    @jax.jit
    def logits(x: Array) -> Array:
        return program(x)

    exported = export.export(logits, platforms=PLATFORMS)(x)
    notes = {
        **facts,
        "platforms": PLATFORMS,
        "calling_convention_version": exported.calling_convention_version,
        "input": {"shape": ["batch", *shape], "dtype": dtype},
        "largest_input": first.bound * first.unit,
        "output": {
            "shape": ["batch", *exported.out_avals[0].shape[1:]],
            "dtype": exported.out_avals[0].dtype.name,
        },
        "about": about,
    }
    files = {MODULE: bytes(exported.serialize())}
    artifact.write(folder, KIND, VERSION, files, notes, overwrite)


def load_stablehlo(folder: str | os.PathLike[str]) -> StableHLO:
    """Load the folder of `to_stablehlo` as a function from images or frames to logits.

    Raises ArtifactError when a file is missing, truncated or changed, or JAX cannot read it.
    """
    export = _import_jax_export()
    manifest, files = artifact.read(folder, KIND, VERSION)
    if MODULE not in files:
        raise ArtifactError(f"{folder}: the manifest has no {MODULE!r}.")
    try:
        # `deserialize` takes a bytearray, not bytes.
        exported = export.deserialize(bytearray(files[MODULE]))
    except Exception as error:  # JAX raises many kinds.
        raise ArtifactError(
            f"{folder} is intact, but JAX {jax.__version__} cannot read it ({quote_error(error)}); "
            f"it was written by {manifest.get('versions')!s:.80}."
        ) from error
    (x,) = exported.in_avals if len(exported.in_avals) == 1 else (None,)
    taken = {"shape": ["batch", *x.shape[1:]], "dtype": x.dtype.name} if x is not None else None
    if manifest.get("input") != taken:
        raise ArtifactError(f"{folder}: the manifest has another input than the module, {taken}.")
    if not isinstance(manifest.get("largest_input"), float | None):
        raise ArtifactError(f"{folder}: largest_input in the manifest must be a float.")
    return StableHLO(exported, manifest)


def _import_jax_export() -> ModuleType:
    # JAX would import flatbuffers later and fail without naming the extra.
    import_extra("flatbuffers", "export", "read and write StableHLO modules")
    from jax import export

    return export
