"""A trained network: the module of a run's config with the variables of one of its checkpoints."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from ..config.own import explain_own, list_own
from ..data import Dataset
from ..errors import UserError
from ..program import build
from ..program.pure import abstract_images
from . import restore
from .saved import Checkpoint


def load_network(
    config: ConfigDict, checkpoint: Checkpoint, dataset: Dataset
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a run and the variables with which it is tested, on the host.

    Raises UserError for a checkpoint that is damaged, or does not fit the current code
    of a user's own network.
    """
    model = build.make_network(config, dataset)
    variables = restore.read_variables(checkpoint)
    # Our own networks always fit: their config is part of the run. A user's code may have changed.
    if list_own(config):
        with explain_own("model", config.model.name):
            like = jax.eval_shape(model.init, jax.random.key(0), abstract_images(dataset))
        _check_shapes(variables, {name: like.get(name, {}) for name in variables})
    return model, variables


def _check_shapes(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    saved, wanted = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
            for path, leaf in jax.tree.leaves_with_path(variables)
        }
        for variables in (there, here)
    )
    for name in saved | wanted:
        shapes = [each.get(name, "missing") for each in (saved, wanted)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"the checkpoint does not fit the network ({name} is {shapes[0]} in it, "
                f"{shapes[1]} in the network): the code has changed since then. Undo the change."
            )
