"""From a config to the parts of a run: network, loss, optimizer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pit_jax import initializers, models, surrogate
from pit_jax.neurons import NEURONS, scale, step

from ..config.choose import chosen, named, options
from ..config.layers import chosen_layers
from ..data import Dataset
from ..errors import UserError
from .losses import LOSSES
from .optim import OPTIMIZERS, cosine
from .step import Loss

# Fields of neurons that are functions, which a config names.
FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {
    "reset": {
        "soft_reset": step.soft_reset,
        "hard_reset": step.hard_reset,
        "clearing_reset": step.clearing_reset,
    },
    "spike": {
        "rectangle": surrogate.rectangle,
        "triangle": surrogate.triangle,
        "sigmoid": surrogate.sigmoid,
        "arctan": surrogate.arctan,
    },
    "scale_init": {
        "three_sigma": initializers.three_sigma,
        "released": initializers.released,
        "covering": initializers.covering,
        "min_max": initializers.min_max,
        "lsq": initializers.lsq,
        "ones": initializers.ones,
    },
    "parametrize": {
        "per_channel": scale.per_channel,
        "lsq": scale.lsq,
        "released": scale.released,
    },
}


def network(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """The network of `config.model` with the neuron of `config.neuron`.

    A field such as `gate_neuron`, of networks with a place for another neuron, is a section as
    `config.neuron` is. A neuron's functions, `reset`, `spike`, `scale_init` and `parametrize`, are
    given by name.
    """
    fields = {
        key: _neuron(f"model.{key}", value) if key.endswith("_neuron") else value
        for key, value in options(config.model).items()
    }
    neuron = _neuron("neuron", config.neuron)
    try:
        return models.create(
            config.model.name,
            num_classes=dataset.num_classes,
            neuron=neuron,
            num_steps=config.num_steps,
            **fields,
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"config.model: {error}") from error


def _neuron(what: str, section: ConfigDict) -> Callable[[], nn.Module]:
    given = options(section)
    for field, table in FUNCTIONS.items():
        if isinstance(name := given.get(field), str):
            if name not in table:
                raise UserError(f"config.{what}.{field} is {name!r}; it can be {', '.join(table)}.")
            given[field] = table[name]
    neuron = partial(chosen(what, NEURONS, section), **given)
    try:
        neuron()
    except (TypeError, ValueError) as error:
        raise UserError(f"config.{what}: {error}") from error
    return neuron


def loss(config: ConfigDict) -> Loss:
    """The loss of `config.loss`."""
    return named("loss", LOSSES, config.loss, "logits", "labels")


def optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """The optimizer of `config.optimizer` on the cosine schedule of the whole run.

    Layers of `config.freeze` stay as they are. Raises UserError, from `init` on, for one of these
    names that no layer begins with.
    """
    schedule = cosine(
        config.learning_rate,
        end=config.get("min_learning_rate", 0.0),
        steps=config.epochs * steps_per_epoch,
        warmup_steps=config.warmup_epochs * steps_per_epoch,
    )
    make: Any = chosen("optimizer", OPTIMIZERS, config.optimizer)
    try:
        made: optax.GradientTransformation = make(schedule, **options(config.optimizer))
    except TypeError as error:
        raise UserError(f"config.optimizer: {error}") from error
    if not config.freeze:
        return made
    return optax.chain(made, optax.masked(optax.set_to_zero(), partial(_frozen, config.freeze)))


def _frozen(names: Sequence[str], params: optax.Params) -> optax.Params:
    layers = {path: "/".join(path[:-1]) for path in flatten_dict(params)}
    frozen = chosen_layers("freeze", names, layers.values())
    return unflatten_dict({path: layer in frozen for path, layer in layers.items()})
