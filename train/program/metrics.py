"""Metrics of `config.metrics`: functions of logits and labels, averaged in each epoch's record.

A metric is called on one sample at a time, with its logits `[1, T, K]` and its label `[1]`, and
returns a scalar, which is averaged over the split.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from ..config.parts import import_part
from ..errors import UserError

Metric = Callable[[Array, Array], Array]
KEY = "metrics"
# With fewer classes, every label is among the first five.
LEAST_CLASSES = 6
# Columns of every record, which a metric cannot replace.
TAKEN = ("loss", "accuracy")


def top5(logits: Float[Array, "B T K"], labels: Int[Array, " B"]) -> Float[Array, ""]:
    """Return the share of samples with at most four mean logits above the label's (top-5)."""
    scores = logits.mean(axis=1)
    # Neither top_k nor a gather: both would first gather a sharded batch on every device.
    own = jnp.where(_make_one_hot(scores, labels) > 0, scores, 0).sum(axis=-1, keepdims=True)
    not_larger = (scores <= own).sum(axis=-1)
    return (not_larger > scores.shape[-1] - 5).astype(scores.dtype).mean()


def entropy(logits: Float[Array, "B T K"], labels: Int[Array, " B"]) -> Float[Array, ""]:
    """Return the mean entropy, in nats, of the softmax of the logits' mean over time."""
    del labels
    surprise = -jax.nn.log_softmax(logits.mean(axis=1))
    shares = jnp.exp(-surprise)
    # A class of probability 0 adds 0, not 0 * inf = NaN.
    return jnp.where(shares > 0, shares * surprise, 0).sum(axis=-1).mean()


def margin(logits: Float[Array, "B T K"], labels: Int[Array, " B"]) -> Float[Array, ""]:
    """Return the mean distance between the largest and the second largest mean logit."""
    del labels
    scores = logits.mean(axis=1)
    others = jnp.where(_make_one_hot(scores, scores.argmax(axis=-1)) > 0, -jnp.inf, scores)
    return (scores.max(axis=-1) - others.max(axis=-1)).mean()


def negative_log_likelihood(
    logits: Float[Array, "B T K"], labels: Int[Array, " B"]
) -> Float[Array, ""]:
    """Return the mean of -log softmax at the label, of the logits' mean over time."""
    scores = logits.mean(axis=1)
    return optax.softmax_cross_entropy(scores, _make_one_hot(scores, labels)).mean()


METRICS: dict[str, Metric] = {
    "entropy": entropy,
    "margin": margin,
    "negative_log_likelihood": negative_log_likelihood,
    "top5": top5,
}


def make_metrics(config: ConfigDict, num_classes: int | None = None) -> dict[str, Metric]:
    """Return the metrics of `config.metrics`, given as names of ours or import paths, by name.

    The metric `package.module:Name` has the name `Name`. Our top5 is skipped for fewer than six
    classes. Raises UserError for a metric that does not exist, and for two metrics with the same
    name.
    """
    given = config.get(KEY, ())
    if isinstance(given, str):
        raise UserError(f"config.{KEY} must be a tuple such as ({given!r},), got {given!r}.")
    found: dict[str, Metric] = {}
    for path in given:
        name = path.rpartition(":")[2]
        if name in found or name in TAKEN:
            owner = "two metrics have" if name in found else "every record already has"
            raise UserError(f"config.{KEY}: {owner} the name {name!r}; rename one of them.")
        found[name] = _find(path)
    if describe_skipped_metrics(config, num_classes):
        del found["top5"]
    return found


def describe_skipped_metrics(config: ConfigDict, num_classes: int | None) -> str:
    """Return a line on the metrics that mean nothing for so few classes, "" if there are none."""
    if num_classes is None or num_classes >= LEAST_CLASSES or "top5" not in config.get(KEY, ()):
        return ""
    return (
        f"config.{KEY}: top5 is not measured, because with {num_classes} classes every label is "
        "among the first five"
    )


def check_metrics(
    metrics: Mapping[str, Metric], model: nn.Module, images: jax.ShapeDtypeStruct
) -> None:
    """Raise UserError for a metric that fails or returns no scalar; nothing is computed.

    `images` has the shape and type of a batch of one image as the network sees it.
    """
    if not metrics:
        return
    key = jax.eval_shape(lambda: jax.random.key(0))
    given, _ = jax.eval_shape(model.init_with_output, key, images)
    dtype = jnp.promote_types(given.dtype, jnp.float32)
    logits, labels = jax.ShapeDtypeStruct(given.shape, dtype), jax.ShapeDtypeStruct((1,), jnp.int32)
    for name, metric in metrics.items():
        try:
            value = jax.eval_shape(metric, logits, labels)
        except Exception as error:  # A user's function can raise anything.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(
                f"config.{KEY}: {name} fails on logits {list(logits.shape)} and labels [1]: "
                f"{reason}"
            ) from error
        if not _is_scalar(value):
            raise UserError(
                f"config.{KEY}: {name} must return a scalar for a batch of one sample, such "
                f"as the mean over the batch; it returns {_describe(value)}."
            )


def _find(path: str) -> Metric:
    if path in METRICS:
        return METRICS[path]
    if ":" not in path:
        raise UserError(
            f"config.{KEY} has {path!r}; it can have {', '.join(METRICS)}, and import paths "
            "package.module:Name."
        )
    found: Metric = import_part(path, KEY)
    return found


def _make_one_hot(scores: Float[Array, "B K"], labels: Int[Array, " B"]) -> Float[Array, "B K"]:
    return jax.nn.one_hot(labels, scores.shape[-1], dtype=scores.dtype)


def _is_scalar(value: object) -> bool:
    return (
        isinstance(value, jax.ShapeDtypeStruct)
        and value.shape == ()
        and not jnp.issubdtype(value.dtype, jnp.complexfloating)
        and (value.dtype == bool or jnp.issubdtype(value.dtype, jnp.number))
    )


def _describe(value: object) -> str:
    if isinstance(value, jax.ShapeDtypeStruct):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__
