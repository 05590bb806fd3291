"""Weights of another run, or imported ones, that a run starts from."""

import sys
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pit_jax import interop
from pit_jax.display import print_text
from pit_jax.interop.values import check_values
from pit_jax.paths import read_path

from ..config.choose import match_layers
from ..config.own import is_own
from ..data import Dataset
from ..distributed import hosts
from ..errors import UserError
from ..program import build
from ..program.pure import abstract_images
from . import manifest, restore

HOW = "python -m pit_jax.interop CHECKPOINT --model NAME --out DIR"
Leaf = tuple[str, ...]


class Pretrained(NamedTuple):
    """Variables that a run starts from, and their checkpoint with its hash; both may be empty."""

    variables: dict[str, Any] = {}
    origin: str = ""


def load_pretrained(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Return the variables of `read_pretrained`."""
    return read_pretrained(config, dataset).variables


def read_pretrained(config: ConfigDict, dataset: Dataset) -> Pretrained:
    """Load the variables in `config.pretrained`, of a run or from pit_jax.interop.

    Layers of `config.reinitialize` are skipped. Parameters of neurons may be missing, since
    published networks have none: they are computed from the first batch. Raises UserError for a
    folder that cannot be read, and for variables that do not fit the network.
    """
    folder, reinitialize = config.pretrained, config.reinitialize
    if not folder:
        if reinitialize:
            raise UserError(
                "config.reinitialize needs config.pretrained, which is empty. Set both or neither."
            )
        return Pretrained()
    model = build.make_network(config, dataset)
    like = jax.eval_shape(model.init, jax.random.key(0), abstract_images(dataset))
    here = {
        path: leaf
        for path, leaf in flatten_dict(like).items()
        if path[0] in ("params", "batch_stats")
    }
    variables, origin = _load_variables(folder)
    there = flatten_dict(variables)
    skipped = match_layers(
        "reinitialize", reinitialize, dict.fromkeys(map(_name_layer, [*here, *there]))
    )
    there = {path: leaf for path, leaf in there.items() if _name_layer(path) not in skipped}
    optional = {path for path in here if interop.is_of_neuron(path, here)}
    # A parameter of a user's own network may be named like one of a neuron: ask for the modules.
    if is_own(config.model.name):
        modules = build.find_modules(config, model, abstract_images(dataset))
        optional = {path for path in optional if any(_is_inside(path, each) for each in modules)}
    if problems := _find_problems(here, there, skipped, optional):
        raise UserError(f"config.pretrained: {_explain_problems(folder, problems, here, there)}")
    # A user's own network may have lists of arrays as leaves.
    arrays = {"/".join(path): leaf for path, leaf in there.items() if hasattr(leaf, "dtype")}
    try:
        check_values(arrays, lambda name: np.asarray(arrays[name]))
    except interop.CheckpointError as error:
        raise UserError(f"config.pretrained: {folder}: {error}") from error
    return Pretrained(unflatten_dict(there), origin)


def _find_problems(
    here: Mapping[Leaf, Any],
    there: Mapping[Leaf, Any],
    skipped: Collection[str],
    optional: Collection[Leaf],
) -> dict[Leaf, str]:
    """Return in words which saved leaves `there` do not fit those of the network, `here`.

    The leaves in `optional`, and those of the layers in `skipped`, may be missing.
    """
    unknown = there.keys() - here.keys()
    missing = {
        path
        for path in here.keys() - there.keys()
        if path not in optional and _name_layer(path) not in skipped
    }
    problems = {path: f"no {'/'.join(path)}" for path in missing}
    problems |= {path: f"{'/'.join(path)}, unknown to the network" for path in unknown}
    for path in there.keys() & here:
        theirs, ours = _read_shape(there[path]), _read_shape(here[path])
        if theirs != ours:
            problems[path] = f"{'/'.join(path)} {theirs}, in the network {ours}"
    return problems


def _read_shape(leaf: Any) -> Any:
    """Return the shape of an array, or the shapes of a list of arrays (in a user's network)."""
    return leaf.shape if hasattr(leaf, "shape") else tuple(map(_read_shape, leaf))


def _load_variables(name: str) -> tuple[Mapping[str, Any], str]:
    """Return the variables in a folder, and their checkpoint with its hash."""
    try:
        folder = read_path(name)
        if folder.is_file():
            raise UserError(f"{name} is a file. Import it first: {HOW}")
        if (folder / "config.json").is_file():
            # A run that still trains has other checkpoints later.
            found = restore.identify_checkpoint(folder)
            if hosts.is_first():
                print_text(f"starting from {found.folder}, sha256 {found.digest[:12]}", sys.stderr)
            origin = f"{found.name}/{found.step}, sha256 {found.digest}"
            return restore.read_variables(found), origin
        origin = f"sha256 {manifest.compute_digest(folder)}"
        return interop.read(folder), origin
    except interop.CheckpointError as error:
        raise UserError(
            f"config.pretrained: {error} Give the folder of a run or of an import: {HOW}"
        ) from error
    except ValueError as error:  # Includes UserError, raised for a run or an invalid path.
        raise UserError(f"config.pretrained: {error}") from error


def _explain_problems(
    folder: str, problems: Mapping[Leaf, str], here: Mapping[Leaf, Any], there: Mapping[Leaf, Any]
) -> str:
    """Return the first problems, and which layers to start from scratch where that helps."""
    heads = {path for path in problems if "head" in path}
    neurons = {path for path in problems if interop.is_of_neuron(path, here.keys() | there.keys())}
    kinds = ["head"] * bool(heads) + sorted(
        {_name_layer(path).rpartition("/")[2].partition("_")[0] for path in neurons}
    )
    # Only heads and neurons can be replaced without losing most of what the other run learned.
    if problems.keys() != heads | neurons:
        advice = (
            "Give the config.model that it was made with; config.reinitialize names layers to "
            "start from scratch"
        )
    else:
        advice = f'With --config.reinitialize="{tuple(kinds)}" these layers start from scratch'
    both = [
        (_read_shape(there[path]), _read_shape(here[path]))
        for path in heads & here.keys() & there.keys()
    ]
    sizes = {(theirs[-1], ours[-1]) for theirs, ours in both if theirs and ours}
    if problems.keys() == heads and len(sizes) == 1:
        ((theirs, ours),) = sizes
        return f"the head of {folder} is for {theirs} classes, the data set has {ours}. {advice}."
    order = sorted(problems, key=lambda path: ("batch_stats" in path, problems[path]))
    more = f"; and {len(order) - 5} more" if len(order) > 5 else ""
    listed = "; ".join(problems[path] for path in order[:5])
    return f"{folder} does not fit config.model: {listed}{more}. {advice}."


def _is_inside(path: Leaf, module: str) -> bool:
    return f"{_name_layer(path)}/".startswith(f"{module}/")


def _name_layer(path: Leaf) -> str:
    # A parameter of the network itself counts as a layer with the parameter's name.
    return "/".join(path[1:-1] or path[1:])
