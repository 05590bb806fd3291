"""Explains why a network cannot be compiled, and which part of its config is the reason."""

from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from pit_jax.inference import NotFoldable
from pit_jax.inference.compiler.neuron_rules import list_neurons
from pit_jax.layers import NORMS

from ..config.choose import normalize_section
from ..config.own import describe_name, is_own, shorten_name
from ..program.build import find_modules


def explain_refusal(config: ConfigDict, model: nn.Module, x: Any, error: NotFoldable) -> str:
    """Return why the compiler refused a network with inputs like `x`.

    If the module belongs to a part that the user wrote, the message names this part, and lists
    those that the compiler supports.
    """
    made = find_modules(config, model, x)
    containing = (what for path, what in made.items() if f"{error.path}/".startswith(f"{path}/"))
    what = next(containing, "model")
    section = config if what in ("model", "neuron") else config.model
    name = normalize_section(section[what.rpartition(".")[2]])["name"]
    if not is_own(name):
        return f"{shorten_name(config.model.name)} cannot be a spiking program: {error}"
    if what == "model":
        return f"{describe_name(what, name)}, which cannot be a spiking program: {error}"
    known = list(NORMS) if what == "model.norm" else list_neurons()
    return (
        f"{describe_name(what, name)}, which the compiler does not support "
        f"({error.problem.rstrip('.')}). It supports {', '.join(known)}: export a run with one of "
        "these."
    )
