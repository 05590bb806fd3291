"""Optimizers of the paper's recipes, with cosine schedule and optional linear warm-up."""

import jax
import optax


def cosine(peak: float, *, steps: int, warmup_steps: int = 0) -> optax.Schedule:
    """Linear from 0 to `peak` over `warmup_steps`, then a half cosine to 0 at `steps`."""
    if warmup_steps == 0:
        return optax.cosine_decay_schedule(peak, steps)
    return optax.warmup_cosine_decay_schedule(0.0, peak, warmup_steps, steps)


def kernels_only(params: optax.Params) -> optax.Params:
    """Weight decay acts on kernels: not on the scale `a`, norms or biases (docs/decisions.md)."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", params)


def sgd(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """SGD with momentum; weight decay joins the gradient before the momentum, as in PyTorch."""
    decay = optax.add_decayed_weights(weight_decay, mask=kernels_only)
    return optax.chain(decay, optax.sgd(schedule, momentum))


def adamw(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """AdamW with decoupled weight decay; `momentum` is the decay of its first moment."""
    return optax.adamw(schedule, b1=momentum, weight_decay=weight_decay, mask=kernels_only)


def lamb(
    schedule: optax.Schedule, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """LAMB: AdamW with a trust ratio per layer, for large batches."""
    return optax.lamb(schedule, b1=momentum, weight_decay=weight_decay, mask=kernels_only)


OPTIMIZERS = {"sgd": sgd, "adamw": adamw, "lamb": lamb}
