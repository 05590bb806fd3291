"""From a config to the parts of a run: network, loss, optimizer."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pit_jax import initializers, models, surrogate
from pit_jax.neurons import NEURONS, scale, step

from ..config.choose import (
    check_bounds,
    choose,
    choose_layers,
    get_options,
    make_part,
)
from ..config.limits import check_rules
from ..data import Dataset
from ..errors import UserError
from .feed import make_feed
from .inputs import check_augment
from .losses import LOSSES
from .optim import OPTIMIZERS, cosine
from .probe import make_probe
from .step import Loss, make_train_step

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


def check(config: ConfigDict) -> None:
    """Raise UserError for a name or a value that a part of the program refuses, whatever the data.

    It is for the time before data are loaded.
    """
    check_bounds(
        make_feed,
        config,
        seed="seed",
        batch_size="batch_size",
        epochs="epochs",
        repeats="augment.repeats",
    )
    check_bounds(
        make_train_step, config, accumulate="accumulate", averaging="averaging", skip="skip"
    )
    check_bounds(make_probe, config, images="health.images")
    check_augment(config.augment)
    _check_schedule(config)
    check_rules(config)
    _create(config, num_classes=1)
    make_loss(config)
    make_optimizer(config, steps_per_epoch=1)


def make_network(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """Return the network of `config.model` with the neuron of `config.neuron`.

    A field such as `gate_neuron`, of networks with a place for another neuron, is a section as
    `config.neuron` is. A neuron's functions, `reset`, `spike`, `scale_init` and `parametrize`, are
    given by name.
    """
    return _create(config, dataset.num_classes)


def _create(config: ConfigDict, num_classes: int) -> nn.Module:
    fields = {
        key: _make_neuron(f"model.{key}", value) if key.endswith("_neuron") else value
        for key, value in get_options(config.model).items()
    }
    neuron = _make_neuron("neuron", config.neuron)
    try:
        return models.create(
            config.model.name,
            num_classes=num_classes,
            neuron=neuron,
            num_steps=config.num_steps,
            **fields,
        )
    except (TypeError, ValueError) as error:
        raise _name_key("model", [*fields, "num_steps"], error) from error


def _make_neuron(what: str, section: ConfigDict) -> Callable[[], nn.Module]:
    given = get_options(section)
    for field, table in FUNCTIONS.items():
        if isinstance(name := given.get(field), str):
            if name not in table:
                raise UserError(f"config.{what}.{field} is {name!r}; it can be {', '.join(table)}.")
            given[field] = table[name]
    neuron = partial(choose(what, NEURONS, section), **given)
    try:
        neuron()
    except (TypeError, ValueError) as error:
        raise _name_key(what, given, error) from error
    return neuron


def _name_key(what: str, fields: Iterable[str], error: Exception) -> UserError:
    """Return the error of a part of `config.WHAT` with the key of the field that it begins with."""
    field = str(error).partition(" ")[0]
    if field not in fields:
        return UserError(f"config.{what}: {error}")
    # The number of steps is that of the run, not a key of the section.
    return UserError(f"config.{error}" if field == "num_steps" else f"config.{what}.{error}")


def make_loss(config: ConfigDict) -> Loss:
    """Return the loss of `config.loss`."""
    return make_part("loss", LOSSES, config.loss, "logits", "labels")


def make_optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return the optimizer of `config.optimizer` on the cosine schedule of the whole run.

    Layers of `config.freeze` stay as they are. Raises UserError, from `init` on, for one of these
    names that no layer begins with.
    """
    _check_schedule(config)
    schedule = cosine(
        config.learning_rate,
        end=config.get("min_learning_rate", 0.0),
        steps=config.epochs * steps_per_epoch,
        warmup_steps=config.warmup_epochs * steps_per_epoch,
    )
    make = make_part("optimizer", OPTIMIZERS, config.optimizer, "schedule")
    made: optax.GradientTransformation = make(schedule)
    if not config.freeze:
        return made
    return optax.chain(
        made, optax.masked(optax.set_to_zero(), partial(_mask_frozen, config.freeze))
    )


def _check_schedule(config: ConfigDict) -> None:
    check_bounds(
        cosine,
        config,
        peak="learning_rate",
        end="min_learning_rate",
        steps="epochs",
        warmup_steps="warmup_epochs",
    )


def _mask_frozen(names: Sequence[str], params: optax.Params) -> optax.Params:
    layers = {path: "/".join(path[:-1]) for path in flatten_dict(params)}
    frozen = choose_layers("freeze", names, layers.values())
    return unflatten_dict({path: layer in frozen for path, layer in layers.items()})
