"""From a config to the parts of a run: network, loss, optimizer."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import flax.linen as nn
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from ..config.choose import check_bounds, choose_layers, make_part
from ..config.limits import check_rules
from ..config.parts import get_name
from ..config.sections import check_sections
from ..data import Dataset
from ..errors import UserError
from .feed import make_feed
from .inputs import check_augment
from .optim import cosine, make_schedule
from .probe import make_probe
from .step import Loss, make_train_step


def check(config: ConfigDict) -> None:
    """Raise UserError for a name or a value that a part of the program refuses, whatever the data.

    It is for the time before data are loaded.
    """
    check_sections(config)
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
    `config.neuron` is, and so is `norm`.
    """
    return _create(config, dataset.num_classes)


def _create(config: ConfigDict, num_classes: int) -> nn.Module:
    neuron = make_part("neuron", config.neuron)
    make = make_part("model", config.model)
    neurons = {"neuron": neuron} | {
        f"model.{key}": value for key, value in make.keywords.items() if key.endswith("_neuron")
    }
    for what, made in neurons.items():
        with _explain(what, made.keywords):
            made()
    with _explain("model", [*make.keywords, "num_steps"]):
        network: nn.Module = make(
            num_classes=num_classes, neuron=neuron, num_steps=config.num_steps
        )
    return network


@contextmanager
def _explain(what: str, fields: Iterable[str]) -> Iterator[None]:
    """Raise the error of a part of `config.WHAT` with the key of the field that it begins with."""
    try:
        yield
    except (TypeError, ValueError) as error:
        field = str(error).partition(" ")[0]
        if field not in fields:
            raise UserError(f"config.{what}: {error}") from error
        # The number of steps is that of the run, not a key of the section.
        place = "config" if field == "num_steps" else f"config.{what}"
        raise UserError(f"{place}.{error}") from error


def make_loss(config: ConfigDict) -> Loss:
    """Return the loss of `config.loss`."""
    return make_part("loss", config.loss)


def make_optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return the optimizer of `config.optimizer` on the schedule of the whole run.

    Layers of `config.freeze` stay as they are. Raises UserError, from `init` on, for one of these
    names that no layer begins with.
    """
    _check_schedule(config)
    make = make_part("schedule", config.get("schedule", "cosine"))
    end = config.get("min_learning_rate", 0.0)
    if end and "end" not in inspect.signature(make).parameters:
        raise UserError(
            f"config.min_learning_rate is {end}, but {get_name(make)} takes no end; set it to 0."
        )
    schedule = make_schedule(
        make,
        config.learning_rate,
        end=end,
        steps=config.epochs * steps_per_epoch,
        warmup_steps=config.warmup_epochs * steps_per_epoch,
    )
    make = make_part("optimizer", config.optimizer)
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
