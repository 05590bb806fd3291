"""Export a program to a StableHLO module for CPUs, GPUs and TPUs that needs only JAX.

To run it without pit_jax, compare the hash in `manifest.json`:

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
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Shaped

from pit_jax import artifact
from pit_jax.artifact import ArtifactError
from pit_jax.checks.arrays import read_array
from pit_jax.export.errors import import_extra
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
        x = jnp.asarray(read_array("the input", x))
        shape, dtype = (self.manifest["input"][name] for name in ("shape", "dtype"))
        # No dtype is converted: as uint8, floats below 1 would silently become 0.
        if [*x.shape[1:]] != shape[1:] or x.dtype != dtype or not len(x):
            raise ValueError(
                f"the input must be [{', '.join(map(str, shape))}] {dtype} with at least one "
                f"sample, got {x.shape} {x.dtype}."
            )
        return self._call(x)

    @cached_property
    def _call(self) -> Any:
        # One jitted function for all calls, so that a batch size is compiled once.
        return jax.jit(self.exported.call)


def to_stablehlo(
    program: SpikingProgram,
    folder: str | os.PathLike[str],
    *,
    frames: bool = False,
    pixels: Float[np.ndarray, "256 C"] | None = None,
    proof: Report | None = None,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Write all steps of the program, with binary spikes, as one module for any batch size.

    The module maps float32 images `[B, H, W, C]`, or with `frames` `[B, T, H, W, C]`, to logits
    `[B, K]`. With `pixels` it takes uint8 and looks up the value of each channel in this table. The
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
    if pixels is not None and pixels.shape != (256, first.shape[-1]):
        raise ValueError(
            f"pixels must have the shape (256, {first.shape[-1]}), a row for each value of a byte, "
            f"got {pixels.shape}."
        )
    shape = (program.num_steps, *first.shape) if frames else first.shape
    dtype = jnp.float32 if pixels is None else jnp.uint8

    @jax.jit
    def logits(x: Array) -> Array:
        if pixels is not None:
            # A table gives every device the same floats; a product and a sum could be contracted.
            x = jnp.asarray(pixels, jnp.float32)[x, jnp.arange(pixels.shape[1])]
        return program(x)

    # A symbolic batch makes one module work for every batch size.
    (batch,) = export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, *shape), dtype)
    exported = export.export(logits, platforms=PLATFORMS)(x)
    notes = {
        **facts,
        "platforms": PLATFORMS,
        "calling_convention_version": exported.calling_convention_version,
        "input": {"shape": ["batch", *shape], "dtype": jnp.dtype(dtype).name},
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
    return StableHLO(exported, manifest)


def _import_jax_export() -> ModuleType:
    # JAX would import flatbuffers later and fail without naming the extra.
    import_extra("flatbuffers", "export", "read and write StableHLO modules")
    from jax import export

    return export
