"""Weights that a run starts from instead of drawing its own."""

from typing import Any

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict

from pit_jax.interop import CheckpointError, of_neuron
from pit_jax.interop import read as read_folder
from train.errors import UserError

HOW = "python -m pit_jax.interop CHECKPOINT --model NAME --out DIR"


def read(folder: str, model: nn.Module, images: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """The variables of `model` in `folder`, which pit_jax.interop wrote; none for no folder.

    Parameters of neurons may be missing, since published networks have none: the first batch makes
    them. Raises UserError for a folder that cannot be read, and lists what does not fit the model.
    """
    if not folder:
        return {}
    try:
        given = read_folder(folder)
    except CheckpointError as error:
        raise UserError(f"config.pretrained: {error} It is what this writes: {HOW}") from error
    like = jax.eval_shape(model.init, jax.random.key(0), images)
    here = {
        path: leaf
        for path, leaf in flatten_dict(like).items()
        if path[0] in ("params", "batch_stats")
    }
    there = flatten_dict(given)
    problems = [
        f"{'/'.join(path)} {there[path].shape}, of the network {here[path].shape}"
        for path in there
        if path in here and there[path].shape != here[path].shape
    ]
    problems += [f"{'/'.join(path)}, unknown to the network" for path in there.keys() - here.keys()]
    problems += [
        f"no {'/'.join(path)}"
        for path in here.keys() - there.keys()
        if not of_neuron(path, here.keys())
    ]
    if problems:
        heads = [
            (there[path].shape[-1], here[path].shape[-1])
            for path in there
            if path in here and "head" in path and there[path].shape != here[path].shape
        ]
        if len(heads) == len(problems) and len(set(heads)) == 1:
            theirs, ours = heads[0]
            raise UserError(
                f"config.pretrained: the head of {folder} is for {theirs} classes, the data set "
                f"has {ours}. Import the checkpoint again with --num-classes {ours} --skip head: "
                "the head starts anew."
            )
        problems.sort(key=lambda problem: ("batch_stats" in problem, problem))
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"config.pretrained: {folder} does not fit config.model: "
            f"{'; '.join(problems[:5])}{more}. Import it for this network; with "
            "--num-classes N --skip head the head starts anew."
        )
    return given
