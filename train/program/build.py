"""Makes the parts of a run from its config: network, loss, optimizer."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from ml_collections import ConfigDict

from pit_jax.checks.dtypes import check_dtype

from ..config.choose import check_bounds, make_part, match_layers, normalize_section
from ..config.limits import check_rules, list_extensions
from ..config.own import describe_name, explain_error, is_own
from ..config.parts import DEFAULTS, get_name, list_parameters
from ..config.sections import check_sections
from ..data import Dataset
from ..errors import UserError
from .feed import make_feed
from .inputs import check_augment
from .optim import add_extensions, cosine, make_schedule
from .probe import make_probe
from .step import Loss, make_train_step

# The arguments that a network passes to all of its norms, and those that it passes to some.
NORM_ARGUMENTS: dict[str, Any] = {"use_running_average": True, "dtype": None, "name": None}
NORM_INITS = ("scale_init", "bias_init")


def check(config: ConfigDict) -> None:
    """Raise UserError for a name or value that a part of the program refuses, whatever the data.

    Programs call it before they load data, which can take minutes.
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
    # The number of classes is known only with the data; no check depends on it.
    _create(config, num_classes=1)
    make_loss(config)
    make_optimizer(config, steps_per_epoch=1)


def make_network(config: ConfigDict, dataset: Dataset) -> nn.Module:
    """Return the network of `config.model` with the neuron of `config.neuron`.

    The section can have inner ones: `norm`, and the other neurons of some networks, `gate_neuron`
    for example. Raises UserError if the samples have another number of frames than
    `config.num_steps`.
    """
    shape = dataset.train.shape
    if len(shape) == 4 and shape[0] != config.num_steps:
        raise UserError(
            f"config.num_steps must be {shape[0]}, the number of frames of each sample of "
            f"{dataset.name}, got {config.num_steps}. Give --config.num_steps={shape[0]}."
        )
    return _create(config, dataset.num_classes)


def list_classes(config: ConfigDict) -> dict[type, str]:
    """Return the section of each class of neurons and norms that a config names."""
    made = _make_inner(config, make_part("model", config.model))
    # Reversed, so that `neuron` wins if another section names the same class.
    return {type(module): what for what, module in reversed(made.items())}


def find_modules(config: ConfigDict, model: nn.Module, x: Any) -> dict[str, str]:
    """Return the section of each neuron and norm in a network by path, for inputs like `x`."""
    classes, found = list_classes(config), {}

    def note(run: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if (what := classes.get(type(context.module))) is not None:
            found["/".join(context.module.path)] = what
        return run(*args, **kwargs)

    # Modules get their paths when the network runs; shapes are enough for that.
    with nn.intercept_methods(note):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(x.shape, x.dtype))
    return found


def _create(config: ConfigDict, num_classes: int) -> nn.Module:
    make = make_part("model", config.model)
    _check_takes("model", make, ("num_classes", "neuron", "num_steps"))
    if "dtype" in make.keywords:
        make.keywords["dtype"] = _read_dtype(make.keywords["dtype"])
    # Neurons and norms are made here once for their errors: inside the network an error would not
    # name the section.
    _make_inner(config, make)
    neuron = make_part("neuron", config.neuron)
    with _explain("model", config.model, [*make.keywords, "num_steps"]):
        network = make(num_classes=num_classes, neuron=neuron, num_steps=config.num_steps)
    if not isinstance(network, nn.Module):
        raise UserError(
            f"{_describe('model', config.model)}, which makes {network!r}; it must make a module "
            "of flax.linen."
        )
    return network


def _make_inner(config: ConfigDict, model: partial[Any]) -> dict[str, Any]:
    """Return the neuron or norm of each section, by the name of the section."""
    made: dict[str, Any] = {}
    sections = {"neuron": (config.neuron, make_part("neuron", config.neuron))}
    for key, value in model.keywords.items():
        if key.endswith("_neuron") or (key == "norm" and isinstance(value, partial)):
            sections[f"model.{key}"] = config.model[key], value
    for what, (section, make) in sections.items():
        given = NORM_ARGUMENTS if what == "model.norm" else {}
        _check_takes(what, make, [*given, *NORM_INITS] if given else ())
        with _explain(what, section, make.keywords):
            made[what] = make(**given)
        if not callable(made[what]):
            raise UserError(
                f"{_describe(what, section)}, which makes {made[what]!r}; it must make a module of "
                "flax.linen, [B, T, ..., C] to the same shape."
            )
    return made


def _read_dtype(dtype: Any) -> Any:
    """Return `config.model.dtype`, for a user's own network too; raise UserError if it is bad."""
    try:
        return check_dtype("config.model.dtype", dtype)
    except ValueError as error:
        raise UserError(str(error)) from error


def _check_takes(what: str, make: partial[Any], names: Iterable[str]) -> None:
    """Raise UserError for a part without a parameter that the program passes."""
    takes = list_parameters(make.func)
    if takes is not None and (missing := [name for name in names if name not in takes]):
        raise UserError(
            f"config.{what}: {get_name(make)} must take {', '.join(names)}; it does not take "
            f"{', '.join(missing)}."
        )


def _describe(what: str, section: Any) -> str:
    return describe_name(what, normalize_section(section).get("name"))


@contextmanager
def _explain(what: str, section: Any, fields: Iterable[str] = ()) -> Iterator[None]:
    """Convert errors of the part of `config.WHAT` to UserError, with the key that is wrong."""
    name = normalize_section(section).get("name")
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Our parts begin a message with the field: "levels must be at least 1, got 0."
        field = str(error).partition(" ")[0]
        is_value = isinstance(error, (TypeError, ValueError))
        if is_value and field in fields:
            # num_steps is a key of the run, not of the section.
            place = "config" if field == "num_steps" else f"config.{what}"
            raise UserError(f"{place}.{error}") from error
        explained = explain_error(what, name, error)
        if explained is None and not is_value:
            raise
        raise explained or UserError(f"config.{what}: {error}") from error


def make_loss(config: ConfigDict) -> Loss:
    """Return the loss of `config.loss`."""
    return make_part("loss", config.loss)


def make_optimizer(config: ConfigDict, steps_per_epoch: int) -> optax.GradientTransformation:
    """Return the optimizer of `config.optimizer` on the schedule of the whole run.

    The layers of `config.freeze` keep their weights. Raises UserError, when `init` runs, for a name
    in it that no layer begins with.
    """
    _check_schedule(config)
    section = config.get("schedule", DEFAULTS["schedule"])
    make = make_part("schedule", section)
    end = config.get("min_learning_rate", 0.0)
    # Ignoring a value that the user set would be a silent mistake.
    if end and "end" not in inspect.signature(make).parameters:
        raise UserError(
            f"config.min_learning_rate is {end}, but {get_name(make)} takes no end; set it to 0."
        )
    _check_takes("schedule", make, ("steps",))
    with _explain("schedule", section, make.keywords):
        schedule = make_schedule(
            make,
            config.learning_rate,
            end=end,
            steps=config.epochs * steps_per_epoch,
            warmup_steps=config.warmup_epochs * steps_per_epoch,
        )
    if not callable(schedule):
        raise UserError(
            f"{_describe('schedule', section)}, which returns {schedule!r}; a schedule returns a "
            "function of the training step, as those of Optax are."
        )
    if is_own(normalize_section(section).get("name")):
        schedule = _watch_schedule(section, schedule)
    ends = [(config.epochs + more) * steps_per_epoch for more in (0, *list_extensions(config))]
    schedule = add_extensions(schedule, config.learning_rate, ends, end=end)
    make = make_part("optimizer", config.optimizer)
    with _explain("optimizer", config.optimizer, make.keywords):
        made: optax.GradientTransformation = make(schedule)
    if not (hasattr(made, "init") and hasattr(made, "update")):
        raise UserError(
            f"{_describe('optimizer', config.optimizer)}, which returns {made!r}; an optimizer "
            "returns an optax.GradientTransformation."
        )
    if not config.freeze:
        return made
    # Updates are set to 0 at the end: before, weight decay and momentum would still move a layer.
    return optax.chain(
        made, optax.masked(optax.set_to_zero(), partial(_mask_frozen, config.freeze))
    )


def _watch_schedule(section: Any, schedule: optax.Schedule) -> optax.Schedule:
    """Return a user's own schedule whose errors name its section, wherever it is called."""

    # It runs while the training step is traced, long after this function has returned.
    def call(count: Any) -> Any:
        with _explain("schedule", section):
            rate = schedule(count)
        if jnp.shape(rate) != ():
            raise UserError(
                f"{_describe('schedule', section)}, whose function of the training step returns "
                f"the shape {jnp.shape(rate)}; it must return one number."
            )
        return rate

    return call


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
    # A parameter of the network itself counts as a layer with the parameter's name.
    layers = {path: "/".join(path[:-1] or path) for path in flatten_dict(params)}
    frozen = match_layers("freeze", names, layers.values())
    return unflatten_dict({path: layer in frozen for path, layer in layers.items()})
