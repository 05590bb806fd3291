"""Tries a user's own parts on shapes before anything is compiled: errors name part and key."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from pit_jax.neurons.probe import firing_rates

from ..config.choose import normalize_section
from ..config.own import describe_name, explain_error, is_own, list_own, summarize_error
from ..data import Dataset
from ..errors import UserError
from .build import list_classes
from .feed import abstract_batch
from .pure import PureProgram
from .state import TrainState
from .step import make_differentiate, promote_to_float32

# Sections whose parts run inside the compiled step.
TRIED = ("augment", "model", "neuron", "loss", "schedule", "optimizer")
# Collections of variables that checkpoints have.
STORED = ("params", "batch_stats")
# The sections whose parts make these fields of a state; `model` makes the others.
OWNERS = {"opt_state": "optimizer", "params": "optimizer"}


def try_parts(config: ConfigDict, dataset: Dataset, pure: PureProgram) -> None:
    """Raise UserError for a user's own part that fails or does not fit the other parts.

    Nothing is computed. Configs without own parts are skipped: the library tests its parts.
    """
    sections = {what: normalize_section(config[what]) for what in TRIED if what in config}
    if not list_own(sections):
        return
    trial = _Trial(config)
    # In the order in which data pass the parts: each is tried on the results of the ones before.
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = abstract_batch(dataset.train, config.batch_size)
    images, labels = _try_augmentation(trial, pure, key, batch)
    variables = _try_network(trial, pure.model, key, images, dataset.num_classes)
    _try_loss(trial, pure, key, variables, images, (labels, batch["label"]))
    _try_step(trial, pure, key, batch)


class _Trial:
    """Runs parts on shapes, and attributes errors and unusable results to their sections."""

    def __init__(self, config: ConfigDict) -> None:
        self._config, self._classes = config, list_classes(config)
        self._is_strict = not is_own(self.get_name("model"))
        # The innermost part that an error passed, and its arguments in words.
        self._failed: tuple[str, str] | None = None

    def get_name(self, what: str) -> Any:
        """Return the name of the part of a section; None for a section that the config lacks."""
        value: Any = self._config
        for key in what.split("."):
            value = normalize_section(value).get(key)
        return None if value is None else normalize_section(value).get("name")

    def find_own(self, *sections: str) -> str:
        """Return the first section whose part is the user's own, or the last section."""
        return next((what for what in sections if is_own(self.get_name(what))), sections[-1])

    def refuse(self, what: str, why: str) -> UserError:
        """Return the error for a part that runs but does not fit the others."""
        return UserError(f"{describe_name(what, self.get_name(what))}, which {why}")

    @contextmanager
    def explain(self, what: str, given: str = "") -> Iterator[None]:
        """Convert errors of a user's code to UserError about `config.WHAT` or a part inside it."""
        self._failed = None
        try:
            with nn.intercept_methods(self._watch):
                yield
        except UserError:
            raise
        except Exception as error:
            place, on = self._failed or (what, given)
            explained = explain_error(place, self.get_name(place), error, on)
            if explained is None:
                raise
            raise explained from error

    def _watch(self, run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        # By base class: networks may derive a class from the neuron's, as nn.remat and nn.vmap do.
        kinds = type(context.module).__mro__
        what = next((self._classes[kind] for kind in kinds if kind in self._classes), None)
        if what is None or context.method_name != "__call__" or not args:
            return run(*args, **kwargs)
        try:
            returned = run(*args, **kwargs)
        except Exception:
            self._failed = self._failed or (what, describe(*args))
            raise
        # A user's own network may call its own neuron in any way.
        if self._is_strict and not _has_same_shape(args[0], returned):
            raise self.refuse(
                what,
                f"returns {describe(returned)} for {describe(args[0])}; it must return floats of "
                "the same shape.",
            )
        return returned


def describe(*values: Any) -> str:
    """Return the types and shapes of arrays: `float32[8,2,10], int32[8]`."""
    return ", ".join(
        f"{value.dtype}[{','.join(map(str, value.shape))}]"
        if hasattr(value, "shape") and hasattr(value, "dtype")
        else type(value).__name__
        for value in values
    )


def _try_augmentation(trial: _Trial, pure: PureProgram, key: Any, batch: Any) -> tuple[Any, Any]:
    what = trial.find_own("augment.policy", "augment.mix")
    with trial.explain(what, describe(batch["image"])):
        images, labels = jax.eval_shape(pure.prepare, key, batch)
    if not _has_same_shape(batch["image"], images):
        raise trial.refuse(
            what,
            f"makes images {describe(images)} of {describe(batch['image'])}; it must return "
            "the same shape.",
        )
    return images, labels


def _try_network(trial: _Trial, model: nn.Module, key: Any, images: Any, classes: int) -> Any:
    """Return the shapes of the variables that a run saves."""

    def init(key: Any, images: Any) -> Any:
        return model.init({"params": key, "dropout": key}, images, train=True)

    with trial.explain("model", describe(images)):
        variables = dict(jax.eval_shape(init, key, images))
    if not variables.get("params"):
        raise trial.refuse("model", "has no parameters: there is nothing to train.")
    stored = {name: variables.pop(name) for name in STORED if name in variables}

    def train(variables: Any, images: Any, key: Any) -> Any:
        rngs = {"dropout": key}
        return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    def test(variables: Any, images: Any) -> Any:
        logits, probes = model.apply(variables, images, mutable=["intermediates"])
        return logits, firing_rates(probes.get("intermediates", {}))

    try:
        with trial.explain("model", describe(images)):
            logits = jax.eval_shape(train, stored, images, key)
            tested, rates = jax.eval_shape(test, stored, images)
    except UserError as error:
        # `apply` did not get the variables of collections that a run does not save.
        if variables and isinstance(error.__cause__, flax.errors.FlaxError):
            raise trial.refuse(
                "model",
                f"has variables in {', '.join(variables)}; a run stores those in params and in "
                "batch_stats only: use one of these collections.",
            ) from error
        raise
    for mode, each in (("training", logits), ("tests", tested)):
        _check_logits(trial, mode, each, images, classes)
    for layer, rate in rates.items():
        if rate.ndim != 2 or rate.shape[0] != images.shape[0]:
            raise trial.refuse(
                trial.find_own("neuron", "model"),
                f"records {describe(rate)} as the rate of {layer}; record takes membranes and "
                "counts [B, T, ..., C].",
            )
    return stored


def _check_logits(trial: _Trial, mode: str, logits: Any, images: Any, classes: int) -> None:
    is_array = hasattr(logits, "shape") and jnp.issubdtype(logits.dtype, jnp.floating)
    wanted = (images.shape[0], classes)
    if not is_array or logits.ndim != 3 or (logits.shape[0], logits.shape[2]) != wanted:
        raise trial.refuse(
            "model",
            f"returns {describe(logits)} in {mode}; it must return logits [B, T, K], here "
            f"[{wanted[0]}, T, {wanted[1]}].",
        )


def _try_loss(
    trial: _Trial, pure: PureProgram, key: Any, stored: Any, images: Any, labels: tuple[Any, ...]
) -> None:
    """Try the loss, with the labels of training and of tests, and its gradient."""

    def logits(stored: Any, images: Any) -> Any:
        found: Any = pure.model.apply(stored, images)
        return promote_to_float32(found)

    # Labels of training may be shares of the classes; those of tests are always integers.
    found = jax.eval_shape(logits, stored, images)
    for each in labels:
        with trial.explain("loss", f"logits {describe(found)} and labels {describe(each)}"):
            value = jax.eval_shape(pure.loss, found, each)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise trial.refuse(
                "loss",
                f"returns {describe(value)} for logits {describe(found)} and labels "
                f"{describe(each)}; it must return one number, such as the mean over the batch.",
            )
    params, stats = stored["params"], stored.get("batch_stats", {})
    differentiate = make_differentiate(pure.model, pure.loss)
    what = trial.find_own("neuron", "model", "loss", "model.norm")
    try:
        with trial.explain(what, "its gradient"):
            jax.eval_shape(differentiate, params, stats, images, labels[0], key)
    except ValueError as error:  # JAX calls a custom gradient: no line of the part is in it.
        if isinstance(error, UserError) or not is_own(trial.get_name(what)):
            raise
        raise trial.refuse(what, f"has a gradient that fails: {summarize_error(error)}") from error


def _try_step(trial: _Trial, pure: PureProgram, key: Any, batch: Any) -> None:
    with trial.explain("optimizer", "the parameters"):
        state, _ = jax.eval_shape(pure.begin, key, batch, {})
        after, _ = jax.eval_shape(pure.train, state, batch)
    # The compiled step takes its own result as its next argument.
    _check_same(trial, state, after)
    weight = jax.ShapeDtypeStruct(batch["label"].shape, jnp.float32)
    with trial.explain("model", "test images"):
        jax.eval_shape(pure.test, state, batch | {"weight": weight})


def _check_same(trial: _Trial, before: TrainState, after: TrainState) -> None:
    """Raise UserError if a step changes the structure, shapes or types of the state."""
    was, now = (dict(jax.tree.leaves_with_path(state)) for state in (before, after))
    for path in (*was, *now):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        owner = OWNERS.get(name.partition("/")[0], "model")
        forms = [describe(each[path]) if path in each else "missing" for each in (was, now)]
        if forms[0] != forms[1]:
            raise trial.refuse(owner, f"changes {name} from {forms[0]} to {forms[1]} in a step.")
        if name != "key" and jnp.issubdtype(was[path].dtype, jax.dtypes.prng_key):
            raise trial.refuse(
                owner,
                f"has a key of jax.random.key in {name}, which a checkpoint cannot save; store its "
                "jax.random.key_data instead.",
            )


def _has_same_shape(given: Any, returned: Any) -> bool:
    """Return whether `returned` is an array of floats with the shape of `given`."""
    return (
        hasattr(returned, "shape")
        and returned.shape == given.shape
        and jnp.issubdtype(returned.dtype, jnp.floating)
    )
