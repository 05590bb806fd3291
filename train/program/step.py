"""The pure training and evaluation steps."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from pit_jax.checks.bounds import between, set_bounds, whole
from pit_jax.neurons.probe import neuron_probes

from .metrics import Metric
from .state import Metrics, TrainState

Batch = dict[str, Array]
Loss = Callable[[Array, Array], Array]
Prepare = Callable[[Array, Batch], tuple[Array, Array]]
Count = Callable[[Array, Array, Array], Metrics]
# With 1 the averages would never leave the initial weights.
MOST_AVERAGING = 0.99999


def split_step_key(key: Key[Array, ""], step: Int[Array, ""] | int) -> tuple[Array, Array]:
    """Return the keys for augmentation and dropout of a step."""
    # Derived from the step and not from the key of the step before: a step can be repeated alone.
    augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, step))
    return augment_key, dropout_key


class Gradients(NamedTuple):
    """The result of a forward and backward pass; `correct` is the number of correct answers."""

    loss: Array
    correct: Array
    batch_stats: Any
    grads: Any


# Takes parameters, statistics, images, labels and the key of dropout.
Differentiate = Callable[[Any, Any, Array, Array, Array], Gradients]


@set_bounds(accumulate=whole(1), averaging=between(0, MOST_AVERAGING), skip=whole(0))
def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    prepare: Prepare,
    *,
    accumulate: int = 1,
    averaging: float = 0.0,
    skip: int = 0,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Return `(state, batch) -> (state, metrics)` for batches of uint8 `image`, integer `label`.

    `prepare(key, batch)` returns the inputs of the network and the labels of the loss. The batch
    passes the network in `accumulate` equal parts, one after the other, and their gradients are
    averaged; norms see one part at a time. `averaging` is the decay of the averaged weights. A step
    whose loss or gradient is not finite learns nothing and is counted; after more than `skip` such
    steps no step learns anything.
    """
    differentiate = make_differentiate(model, loss)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = split_step_key(state.key, state.step)
        images, labels = prepare(augment_key, batch)
        if accumulate == 1:
            found = differentiate(state.params, state.batch_stats, images, labels, dropout_key)
        else:
            found = accumulate_gradients(
                differentiate, state, images, labels, dropout_key, accumulate
            )
        seen = len(batch["label"])
        learned = update(state, found, optimizer, averaging, seen)
        state = keep_if_finite(state, learned, found, skip)
        metrics = {"loss": found.loss, "accuracy": found.correct / seen, "skipped": state.skipped}
        return state, metrics

    return train_step


def make_differentiate(model: nn.Module, loss: Loss) -> Differentiate:
    """Return the forward and backward pass of a batch in training mode."""

    def objective(
        params: Any, stats: Any, images: Array, labels: Array, key: Array
    ) -> tuple[Array, tuple[Array, Any]]:
        logits, updates = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        # The loss is computed in float32 even if the network computes in bfloat16: its softmax and
        # its mean over the batch need more than 8 bits.
        logits = promote_to_float32(logits)
        right = is_correct(logits, labels).sum()
        return loss(logits, labels), (right, updates.get("batch_stats", {}))

    value_and_grad = jax.value_and_grad(objective, has_aux=True)

    def differentiate(*arguments: Any) -> Gradients:
        (value, (right, stats)), grads = value_and_grad(*arguments)
        return Gradients(value, right, stats, grads)

    return differentiate


def accumulate_gradients(
    differentiate: Differentiate,
    state: TrainState,
    images: Array,
    labels: Array,
    dropout_key: Key[Array, ""],
    parts: int,
) -> Gradients:
    """Process a batch in `parts`, one after the other; return the mean loss and gradients."""
    params, stats = state.params, state.batch_stats
    value, right, grads = jnp.zeros(()), jnp.zeros(()), optax.tree.zeros_like(params)
    # Unrolled: on CPUs the gradient of a convolution inside a scan is many times slower.
    for part in range(parts):
        found = differentiate(
            params,
            stats,
            _take_part(images, part, parts),
            _take_part(labels, part, parts),
            jax.random.fold_in(dropout_key, part),
        )
        value, right, grads = jax.tree.map(
            jnp.add, (value, right, grads), (found.loss, found.correct, found.grads)
        )
        # Only the statistics connect the parts: without a barrier the compiler may interleave them
        # and hold the activations of several at once. With it, a part starts when the gradients of
        # the part before are complete.
        params, stats, grads = jax.lax.optimization_barrier((params, found.batch_stats, grads))
    value, grads = jax.tree.map(lambda x: x / parts, (value, grads))
    return Gradients(value, right, stats, grads)


def update(
    state: TrainState,
    found: Gradients,
    optimizer: optax.GradientTransformation,
    averaging: float,
    seen: int,
) -> dict[str, Any]:
    """Return the new values of the fields that a training step of `seen` samples changes."""
    updates, opt_state = optimizer.update(found.grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    # The sums over an epoch are part of the state, so that a resumed run continues them.
    sums = {"loss": found.loss * seen, "correct": found.correct, "seen": seen}
    variables = {"params": params, "batch_stats": found.batch_stats}
    averaged = average(variables, state.averaged, averaging) if averaging else {}
    totals = jax.tree.map(lambda total, new: total + new, state.totals, sums)
    return {**variables, "opt_state": opt_state, "averaged": averaged, "totals": totals}


def average(new: Any, before: Any, decay: float) -> Any:
    """Return the averages after a step; integers, such as counters, get their new values."""

    def move(new: Array, before: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.inexact):
            return new
        moved: Array = optax.incremental_update(new, before, 1 - decay)
        return moved

    return jax.tree.map(move, new, before)


def keep_if_finite(
    state: TrainState, learned: dict[str, Any], found: Gradients, skip: int
) -> TrainState:
    """Return the state after a step; it gets the `learned` fields if loss and gradients are finite.

    After more than `skip` steps that were not finite, no step learns anything: the host looks at a
    step while the next one runs, and diagnoses the failure with the state before it.
    """
    before = {name: getattr(state, name) for name in learned}
    is_learning = state.skipped <= skip
    # Gradients too: a finite loss can have a gradient with NaN, which would destroy the weights and
    # the moments of the optimizer for good.
    is_finite = are_finite((found.loss, found.grads))
    after: TrainState = state.replace(
        step=state.step + 1,
        skipped=state.skipped + (is_learning & ~is_finite),
        bad=jnp.where(is_learning & ~is_finite, state.step, state.bad),
        **jax.tree.map(partial(jnp.where, is_learning & is_finite), learned, before),
    )
    return after


def are_finite(tree: Any) -> Array:
    """Return whether all values of all leaves are finite."""
    # A sum with NaN or infinity is never finite, and XLA sums several times faster than it tests
    # each value. Only a sum of finite values that overflows needs the exact answer.
    total = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(tree))

    def test_each(tree: Any) -> Array:
        return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()

    found: Array = jax.lax.cond(jnp.isfinite(total), lambda tree: jnp.array(True), test_each, tree)
    return found


def _take_part(column: Array, part: int, parts: int) -> Array:
    # Part p has the samples p, p + parts, p + 2 parts, ... Each device has contiguous rows of the
    # batch, and so its share of such a part; contiguous parts would have to move between devices.
    return column.reshape(-1, parts, *column.shape[1:])[:, part]


def make_eval_step(
    model: nn.Module,
    loss: Loss,
    normalize: Callable[[Array], Array],
    count: Count = lambda scores, labels, weight: {},
    metrics: Mapping[str, Metric] = MappingProxyType({}),
) -> Callable[[TrainState, Batch], Metrics]:
    """Return `(state, batch) -> sums` over the samples whose `weight` is 1; padding has weight 0.

    The sums are `loss`, `correct`, `spikes`, `metric/NAME` for each of `metrics`, `rate/LAYER`
    `[T]` with the firing rates of each neuron layer, and the results of `count`, which takes the
    logits' mean over time, labels and weights.
    """

    def eval_step(state: TrainState, batch: Batch) -> Metrics:
        # Without `train`, BatchNorm uses its running statistics: padding cannot affect the samples.
        logits, probes = model.apply(
            state.variables,
            normalize(batch["image"]),
            mutable=["intermediates"],
        )
        logits = promote_to_float32(logits)
        weight = batch["weight"]

        def sum_samples(function: Loss | Metric) -> Array:
            # Losses and metrics average over the batch, so padding is excluded only if they see one
            # sample at a time.
            values = jax.vmap(lambda x, y: function(x[None], y[None]))(logits, batch["label"])
            return (values * weight).sum()

        layers = neuron_probes(probes.get("intermediates", {}))
        rates = {name: layer["rate"] for name, layer in layers.items()}
        return {
            "loss": sum_samples(loss),
            "correct": (is_correct(logits, batch["label"]) * weight).sum(),
            "spikes": (average_spikes(layers) * weight).sum(),
            **{f"metric/{name}": sum_samples(metric) for name, metric in metrics.items()},
            **{f"rate/{name}": (rate * weight[:, None]).sum(0) for name, rate in rates.items()},
            **count(logits.mean(axis=1), batch["label"], weight),
        }

    return eval_step


def average_spikes(layers: Mapping[str, Mapping[str, Array]]) -> Array:
    """Return the integers |k| that a neuron fires over all steps: the mean over neurons, `[B]`.

    `layers` are the probes of `neuron_probes`. Each neuron counts the same, so a layer has the
    weight of its size. Without neuron layers the mean is 0.
    """
    sizes = {name: math.prod(layer["count"].shape[2:]) for name, layer in layers.items()}
    # A rate is the mean of |k| / D over a layer: no second sum over its neurons.
    fired = (
        layer["levels"]
        * promote_to_float32(layer["rate"]).sum(axis=1)
        * (sizes[name] / sum(sizes.values()))
        for name, layer in layers.items()
    )
    return sum(fired, start=jnp.zeros(()))


def is_correct(logits: Array, labels: Array) -> Array:
    """Return 1 where the class with the largest mean logit over time is the label, `[B]`.

    If labels are shares of the classes, `[B, K]`, the class with the largest share is the label.
    """
    labels = labels.argmax(axis=-1) if labels.ndim == 2 else labels
    return (logits.mean(axis=1).argmax(axis=-1) == labels).astype(jnp.float32)


def promote_to_float32(logits: Array) -> Array:
    """Convert logits to float32, unless they are float64."""
    # Promotion, not a fixed type: under x64 the tests compare losses in float64.
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
