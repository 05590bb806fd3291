"""Finds the first value that is not finite, by repeating a training step layer by layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool

from pit_jax.layers import remat

from .state import TrainState
from .step import Batch, Loss, Prepare, promote_to_float32, split_step_key

# Takes the state before a step and its batch; returns in words the first cause that is not finite.
Diagnose = Callable[[TrainState, Batch], str]
# How descriptions of these causes begin.
IMAGES, WEIGHTS = "the images of the step", "the weights of"


class Flags(NamedTuple):
    """Which values of a step are finite; weights and gradients by layer, outputs in their order."""

    images: Array
    weights: dict[str, Array]
    outputs: list[Array]
    loss: Array
    gradients: dict[str, Array]


def make_diagnose(model: nn.Module, loss: Loss, prepare: Prepare) -> Diagnose:
    """Return a function that names the first layer whose output or gradient is not finite.

    It takes the state before its step `bad` and the batch of this step, which passes the network
    as a whole, without accumulation.
    """
    # Outputs inside jax.checkpoint are tracers that must not leave it.
    if getattr(model, "remat", None) in remat.POLICIES:
        model = model.clone(remat="none")

    def diagnose(state: TrainState, batch: Batch) -> str:
        try:
            return _diagnose(model, loss, prepare, state, batch, inside=True)
        except jax.errors.UnexpectedTracerError:  # A user's network has layers in a jax.lax loop.
            return _diagnose(model, loss, prepare, state, batch, inside=False)

    return diagnose


def _diagnose(
    model: nn.Module,
    loss: Loss,
    prepare: Prepare,
    state: TrainState,
    batch: Batch,
    *,
    inside: bool,
) -> str:
    """Return in words the first cause that is not finite.

    The outputs of all layers `inside` the network are examined, or only its logits.
    """
    # Filled while `finite` is traced, in the order in which the layers run.
    outputs: list[str] = []

    @jax.jit
    def finite(state: TrainState, batch: Batch) -> Flags:
        augment_key, dropout_key = split_step_key(state.key, state.bad)
        images, labels = prepare(augment_key, batch)

        def objective(params: Any) -> tuple[Array, list[Array]]:
            outputs.clear()  # JAX may trace this more than once.
            flags: list[Array] = []

            def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
                output = call(*args, **kwargs)
                path = context.module.path
                if context.method_name == "__call__" and (inside or not path):
                    outputs.append("/".join(path))
                    flags.append(_is_finite(output))
                return output

            with nn.intercept_methods(note):
                logits, _ = model.apply(
                    {"params": params, "batch_stats": state.batch_stats},
                    images,
                    train=True,
                    mutable=["batch_stats"],
                    rngs={"dropout": dropout_key},
                )
            return loss(promote_to_float32(logits), labels), flags

        (value, flags), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        return Flags(
            images=_is_finite(images),
            weights=_group(state.params) | _group(state.batch_stats, ", its statistics"),
            outputs=flags,
            loss=_is_finite(value),
            gradients=_group(grads),
        )

    return _describe(outputs, jax.device_get(finite(state, batch)))


def _group(tree: Any, suffix: str = "") -> dict[str, Array]:
    """Return whether all values of a layer are finite, by the path of the layer and `suffix`."""
    layers: dict[str, list[Array]] = {}
    for path, leaf in flatten_dict(tree).items():
        layers.setdefault("/".join(path[:-1]), []).append(_is_finite(leaf))
    return {f"{layer}{suffix}": jnp.stack(found).all() for layer, found in layers.items()}


def _describe(outputs: list[str], flags: Flags) -> str:
    # Causes come before their consequences.
    if not flags.images:
        return IMAGES
    for layer, is_finite in flags.weights.items():
        if not is_finite:
            return f"{WEIGHTS} {layer or 'the network'} before the step"
    gradients = flags.gradients
    for layer, is_finite in zip(outputs, flags.outputs, strict=True):
        if not is_finite:
            return f"the output of {layer or 'the network'}"
    if not flags.loss:
        return "the loss, although the logits are finite"
    # The gradient passes the layers in reverse: the last layer to run comes first.
    # Layers without an output, inside a loop for example, are examined last.
    order = [layer for layer in gradients if layer not in outputs]
    order += [layer for layer in outputs if layer in gradients]
    first = next((layer for layer in reversed(order) if not gradients[layer]), None)
    if first is None:
        return "nothing when the step is repeated"
    return f"the gradient of {first or 'the network'}"


def _is_finite(tree: Any) -> Bool[Array, ""]:
    # The leading True: a tree without floats is finite, and jnp.stack needs an element.
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.array(True), *(jnp.isfinite(x).all() for x in floats)]).all()
