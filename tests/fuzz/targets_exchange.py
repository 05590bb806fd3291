"""Targets: checkpoints of PyTorch, imported weights, and files of saved and exported programs."""

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nir
import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pit_jax import interop
from pit_jax.artifact import MANIFEST, MANIFEST_HASH
from pit_jax.export import from_nir, load_stablehlo, to_nir, to_stablehlo
from pit_jax.inference import SpikingProgram, compile, load
from pit_jax.neurons import IF
from tests.fuzz.core import SLOW_SHARE, FileTarget, ValueTarget
from tests.inference.random_networks import make_small_network
from tests.interop.torch_bytes import FORMATS, call, tensor, tensors

ARRAYS = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn1.weight": np.float32([0.5, -0.25]),
    "bn1.running_var": np.float32([0.5, 0.25]),
    "bn1.num_batches_tracked": np.array(7),
}


def write_checkpoints(folder: Path) -> list[Path]:
    """Write the formats of torch.save, with values next to the weights."""
    best = call("numpy.core.multiarray", "scalar", call("numpy", "dtype", "f8"), "12345678")
    checkpoint = {
        "model": tensors({f"module.{name}": array for name, array in ARRAYS.items()}),
        "optimizer": {"state": {0: {"m": tensor(np.ones(2), "99")}}, "groups": [{"lr": 0.1}]},
        "best": best,
    }
    files = []
    for name, write in FORMATS.items():
        for kind, value in (("plain", tensors(ARRAYS)), ("whole", checkpoint)):
            files.append(folder / f"{kind}_{name}.pth")
            files[-1].write_bytes(write(value, None))
    return files


def write_safetensors(folder: Path) -> list[Path]:
    """Write one file of safetensors."""
    half = {"half": np.arange(4).astype(jnp.bfloat16)}
    save_file(ARRAYS | half, folder / "weights.safetensors")
    return [folder / "weights.safetensors"]


def read_checkpoint(path: Path) -> None:
    """Load the weights; all must be finite."""
    for name, array in interop.load(path).items():
        assert isinstance(name, str) and array.size < 2**23
        assert not jnp.issubdtype(array.dtype, jnp.inexact) or np.all(np.isfinite(array))


def write_import(folder: Path) -> list[Path]:
    """Write an imported folder."""
    interop.write({"params": {"head": {"kernel": jnp.ones((2, 3))}}}, folder / "imported")
    return [folder / "imported"]


def read_import(path: Path) -> None:
    """Read the variables of an imported folder."""
    assert set(interop.read(path)) == {"params"}


@cache
def make_program() -> SpikingProgram:
    """Return a small program."""
    model, variables, x = make_small_network(IF, 2, (4, 3, 2, 1, ""), (4, 3, 1, 1, "max"))
    return compile(model, variables, x, verify=False)


def write_program(folder: Path) -> list[Path]:
    """Write a saved program."""
    make_program().save(folder / "program")
    return [folder / "program"]


def write_nir(folder: Path) -> list[Path]:
    """Write NIR graphs, one with the hash of this package."""
    to_nir(_make_hard_program(), folder / "ours.nir")
    linear = nir.Linear(np.eye(2, dtype=np.float32))
    lif = nir.LIF(*(np.full(2, x) for x in (2e-4, 2.0, 0.0, 1.0, 0.0)))
    conv = nir.Conv2d((4, 4), np.ones((2, 2, 3, 3), np.float32), 1, 1, 1, 1, np.zeros(2))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    fire = nir.Threshold(np.full((2, 2, 2), 0.5))
    flat = nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1)
    affine = nir.Affine(np.ones((3, 8), np.float32), np.zeros(3, np.float32))
    for name, graph in (("lif", (linear, lif)), ("conv", (conv, pool, fire, flat, affine))):
        made = nir.NIRGraph.from_list(*graph)
        made.metadata["num_steps"] = 2
        nir.write(folder / f"{name}.nir", made)
    return sorted(folder.glob("*.nir"))


@cache
def _make_hard_program() -> SpikingProgram:
    from functools import partial

    from pit_jax.neurons.step import hard_reset

    hard = partial(IF, reset=hard_reset)
    model, variables, x = make_small_network(hard, 2, (2, 3, 2, 1, ""), batch=2)
    return compile(model, variables, x, weights="int8", verify=False)


def read_nir(path: Path) -> None:
    """Convert the graph and run it."""
    _run_network(*from_nir(path))


def _run_network(model: Any, variables: Any) -> None:
    for leaf in jax.tree.leaves(variables):
        assert np.all(np.isfinite(leaf))
    assert model.num_steps >= 1 and 1 <= model.rank <= 3


def read_program(folder: Path) -> None:
    """Load a saved program as its manifest hashes whatever the files have."""
    _hash_again(folder)
    program = load(folder)
    assert program.fingerprint == make_program().fingerprint and program.num_steps >= 1


def _hash_again(folder: Path) -> None:
    """Write the hashes that belong to damaged files, where that is possible."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        for name, identity in manifest["files"].items():
            content = (folder / name).read_bytes()
            identity |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (folder / MANIFEST).write_text(json.dumps(manifest))
    except Exception:
        pass
    try:
        text = (folder / MANIFEST).read_bytes()
        line = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n"
        (folder / MANIFEST_HASH).write_text(line)
    except OSError:
        pass


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 5)
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "same", "valid", "a", "\x00", "Pixels", "Spikes", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
EDITS = st.lists(st.tuples(st.lists(st.integers(0, 12), max_size=5), VALUES), max_size=3)


def _edit(value: Any, path: list[int], new: Any) -> Any:
    """Return JSON in which the value at `path`, of positions, is replaced."""
    if not path or not isinstance(value, (dict, list)) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = _edit(value[key], path[1:], new)
    return changed


@cache
def _write_once(kind: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="pit_jax_fuzz_")) / "exported"
    if kind == "program":
        make_program().save(folder)
    else:
        to_stablehlo(make_program(), folder)
    return folder


def check_manifest(edits: list[tuple[list[int], Any]], kind: str) -> None:
    """Load a folder whose manifest was edited, with the hash that it then needs."""
    source = _write_once(kind)
    with tempfile.TemporaryDirectory(prefix="pit_jax_fuzz_") as place:
        folder = Path(place) / "exported"
        folder.mkdir()
        for file in source.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        manifest = json.loads((folder / MANIFEST).read_bytes())
        for path, value in edits:
            manifest = _edit(manifest, path, value)
        text = json.dumps(manifest).encode()
        (folder / MANIFEST).write_bytes(text)
        line = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n"
        (folder / MANIFEST_HASH).write_text(line)
        if kind == "program":
            program = load(folder)
            assert program.fingerprint == make_program().fingerprint
            assert program.num_steps >= 1
        else:
            assert callable(load_stablehlo(folder))


def check_graph(drawn: tuple[dict[str, Any], list[Any], dict[str, Any]]) -> None:
    """Convert a graph of nodes with drawn fields, edges and metadata."""
    fields, edges, metadata = drawn
    weight = np.ones((2, 2, 3, 3), np.float32)
    conv = nir.Conv2d((4, 4), weight, 1, 1, 1, 1, np.zeros(2, np.float32))
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    lif = nir.LIF(*(np.full((1,), x) for x in (2e-4, 2.0, 0.0, 1.0, 0.0)))
    flat = nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1)
    linear = nir.Linear(np.ones((3, 8), np.float32))
    shapes = nir.Input(np.array([2, 4, 4])), nir.Output(np.array([3]))
    nodes = dict(
        input=shapes[0], conv=conv, pool=pool, lif=lif, flat=flat, linear=linear, output=shapes[1]
    )
    names = list(nodes)
    pairs = [*zip(names, names[1:], strict=False), *edges]
    graph = nir.NIRGraph(nodes, pairs, {"num_steps": 2, **metadata}, type_check=False)
    for name, value in fields.items():
        node, _, field = name.partition(".")
        setattr(nodes[node], field, value)
    _run_network(*from_nir(graph))


FIELDS = [
    *("conv.weight", "conv.stride", "conv.padding", "conv.dilation", "conv.groups", "conv.bias"),
    *("pool.kernel_size", "pool.stride", "pool.padding", "lif.tau", "lif.r", "lif.v_leak"),
    *("lif.v_threshold", "lif.v_reset", "flat.start_dim", "flat.end_dim", "linear.weight"),
    *("input.input_type", "output.output_type"),
]
NUMBERS = st.integers(-3, 5) | st.floats() | st.sampled_from([2**31, 2**63, 10**30])
NIR_VALUES = (
    VALUES
    | NUMBERS
    | st.lists(NUMBERS, max_size=4).map(np.array)
    | st.lists(st.integers(0, 3), max_size=4).map(lambda shape: np.ones(shape, np.float32))
    | st.dictionaries(st.sampled_from(["input", "output"]), st.lists(NUMBERS).map(np.array))
)
NAMES = st.sampled_from(["input", "conv", "pool", "lif", "flat", "linear", "output", "other", ""])
GRAPHS = st.tuples(
    st.dictionaries(st.sampled_from(FIELDS), NIR_VALUES, max_size=2),
    st.lists(st.tuples(NAMES, NAMES) | VALUES, max_size=1),
    st.dictionaries(st.sampled_from(["num_steps", "dt", "sha256", "x"]), NIR_VALUES, max_size=2),
)

TARGETS = [
    FileTarget("checkpoints of torch", write_checkpoints, read_checkpoint),
    FileTarget("safetensors", write_safetensors, read_checkpoint),
    FileTarget("imported weights", write_import, read_import),
    FileTarget("NIR files", write_nir, read_nir, share=SLOW_SHARE),
    FileTarget("saved programs", write_program, read_program),
    ValueTarget(
        "manifests of programs",
        EDITS,
        lambda x: check_manifest(x, "program"),
        ("exported",),
        seconds=60,
    ),
    ValueTarget(
        "manifests of StableHLO",
        EDITS,
        lambda x: check_manifest(x, "stablehlo"),
        ("exported",),
        # The first input exports a network.
        seconds=60,
    ),
    ValueTarget("NIR graphs", GRAPHS, check_graph),
]
