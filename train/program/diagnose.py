"""Finds where a loss that is not finite began: a step computed again, layer by layer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool

from pit_jax.layers import remat

from .state import TrainState
from .step import Batch, Loss, Prepare, at_least_float32, step_keys

# Of the state before the step and of its batch: what is not finite first, in words.
Diagnose = Callable[[TrainState, Batch], str]
# What is finite: images and loss, the output of each module that was seen, the gradient by layer.
Flags = tuple[Array, list[Array], dict[str, Array]]


def make_diagnose(model: nn.Module, loss: Loss, prepare: Prepare) -> Diagnose:
    """Return a function that names the first layer whose output or gradient is not finite.

    The state is that before its step `bad`, and the batch that of this step, which passes the
    network in one part.
    """
    # What is computed twice cannot be looked at from outside.
    if getattr(model, "remat", None) in remat.POLICIES:
        model = model.clone(remat="none")

    def diagnose(state: TrainState, batch: Batch) -> str:
        try:
            return _diagnose(model, loss, prepare, state, batch, inside=True)
        except jax.errors.UnexpectedTracerError:  # Nor can layers in a loop of a user's own.
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
    """Return what is not finite first, among the layers `inside` or of the network as a whole."""
    outputs: list[str] = []

    @jax.jit
    def finite(state: TrainState, batch: Batch) -> Flags:
        augment_key, dropout_key = step_keys(state.key, state.bad)
        images, labels = prepare(augment_key, batch)

        def objective(params: Any) -> tuple[Array, list[Array]]:
            outputs.clear()
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
            return loss(at_least_float32(logits), labels), flags

        (value, flags), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        layers: dict[str, list[Array]] = {}
        for path, leaf in flatten_dict(grads).items():
            layers.setdefault("/".join(path[:-1]), []).append(_is_finite(leaf))
        whole = {layer: jnp.stack(found).all() for layer, found in layers.items()}
        return _is_finite((images, value)), flags, whole

    return _describe(outputs, *jax.device_get(finite(state, batch)))


def _describe(
    outputs: list[str], begins_well: Any, flags: list[Any], gradients: dict[str, Any]
) -> str:
    for layer, well in zip(outputs, flags, strict=True):
        if not well:
            return f"the output of {layer or 'the network'}"
    if not begins_well:
        return "the loss, behind finite logits"
    # The gradient passes the layers the other way: the last one to compute is the first.
    order = [layer for layer in gradients if layer not in outputs]
    order += [layer for layer in outputs if layer in gradients]
    first = next((layer for layer in reversed(order) if not gradients[layer]), None)
    if first is None:
        return "nothing when computed once more"
    return f"the gradient of {first or 'the network'}"


def _is_finite(tree: Any) -> Bool[Array, ""]:
    floats = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.array(True), *(jnp.isfinite(x).all() for x in floats)]).all()
