"""Weights that a run starts from instead of drawing its own."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pit_jax import interop

from ..config.choose import choose_layers
from ..config.own import is_own
from ..data import Dataset
from ..errors import UserError
from ..program import build
from ..program.pure import abstract_images
from . import restore

HOW = "python -m pit_jax.interop CHECKPOINT --model NAME --out DIR"
Leaf = tuple[str, ...]


def load_pretrained(config: ConfigDict, dataset: Dataset) -> dict[str, Any]:
    """Return the variables in `config.pretrained`, of a run or from pit_jax.interop; {} for none.

    Layers of `config.reinitialize` are skipped. Parameters of neurons may be missing, since
    published networks have none: the first batch makes them. Raises UserError for a folder that
    cannot be read, and lists what does not fit the network.
    """
    folder, reinitialize = config.pretrained, config.reinitialize
    if not folder:
        if reinitialize:
            raise UserError(
                "config.reinitialize is of layers of config.pretrained, which names no folder."
            )
        return {}
    model = build.make_network(config, dataset)
    like = jax.eval_shape(model.init, jax.random.key(0), abstract_images(dataset))
    here = {
        path: leaf
        for path, leaf in flatten_dict(like).items()
        if path[0] in ("params", "batch_stats")
    }
    there = flatten_dict(_load_variables(folder))
    left_out = choose_layers(
        "reinitialize", reinitialize, dict.fromkeys(map(_layer, [*here, *there]))
    )
    there = {path: leaf for path, leaf in there.items() if _layer(path) not in left_out}
    made = {path for path in here if interop.is_of_neuron(path, here)}
    if is_own(config.model.name):  # Its own parameters may look like those of a neuron.
        modules = build.find_modules(config, model, abstract_images(dataset))
        made = {path for path in made if any(_is_inside(path, each) for each in modules)}
    if problems := _problems(here, there, left_out, made):
        raise UserError(f"config.pretrained: {_complaint(folder, problems, here, there)}")
    return unflatten_dict(there)


def _problems(
    here: Mapping[Leaf, Any],
    there: Mapping[Leaf, Any],
    left_out: Collection[str],
    made: Collection[Leaf],
) -> dict[Leaf, str]:
    """Return in words which leaves `there` do not fit those `here`, in the network.

    Those that are `made` from the first batch can be missing.
    """
    unknown = there.keys() - here.keys()
    missing = {
        path
        for path in here.keys() - there.keys()
        if path not in made and _layer(path) not in left_out
    }
    problems = {path: f"no {'/'.join(path)}" for path in missing}
    problems |= {path: f"{'/'.join(path)}, unknown to the network" for path in unknown}
    for path in there.keys() & here:
        theirs, ours = _read_shape(there[path]), _read_shape(here[path])
        if theirs != ours:
            problems[path] = f"{'/'.join(path)} {theirs}, of the network {ours}"
    return problems


def _read_shape(leaf: Any) -> Any:
    """Return the shape of an array, and of a list of them, as a user's own network may have."""
    return leaf.shape if hasattr(leaf, "shape") else tuple(map(_read_shape, leaf))


def _load_variables(folder: str) -> Mapping[str, Any]:
    try:
        if (Path(folder) / "config.json").is_file():
            return restore.load_variables(Path(folder))
        return interop.read(folder)
    except UserError as error:
        raise UserError(f"config.pretrained: {error}") from error
    except interop.CheckpointError as error:
        raise UserError(
            f"config.pretrained: {error} It is the folder of a run, or what this writes: {HOW}"
        ) from error


def _complaint(
    folder: str, problems: Mapping[Leaf, str], here: Mapping[Leaf, Any], there: Mapping[Leaf, Any]
) -> str:
    """Return all that does not fit, and which layers to start from scratch where that helps."""
    heads = {path for path in problems if "head" in path}
    neurons = {path for path in problems if interop.is_of_neuron(path, here.keys() | there.keys())}
    kinds = ["head"] * bool(heads) + sorted(
        {_layer(path).rpartition("/")[2].partition("_")[0] for path in neurons}
    )
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
    return f"{_layer(path)}/".startswith(f"{module}/")


def _layer(path: Leaf) -> str:
    # A parameter of the network itself is a layer of its own name.
    return "/".join(path[1:-1] or path[1:])
