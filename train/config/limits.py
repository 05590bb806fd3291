"""What the values of a config can be, checked before anything is loaded or compiled."""

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from ..data.augment import RESAMPLERS
from ..errors import UserError

# The least that a number can be.
LEAST = {
    "seed": 0,
    "num_steps": 1,
    "model.width": 1,
    "augment.pad": 0,
    "augment.roll": 0,
    "augment.rotate": 0,
    "augment.repeats": 1,
    "augment.smoothing": 0,
    "augment.policy.num_ops": 1,
    "augment.policy.magnitude": 0,
    "augment.policy.deviation": 0,
    "augment.policy.probability": 0,
    "augment.cutout.size": 0,
    "augment.erase.probability": 0,
    "augment.mix.probability": 0,
    "accumulate": 1,
    "averaging": 0,
    "epochs": 1,
    "batch_size": 1,
    "warmup_epochs": 0,
    "checkpoints.last": 1,
    "checkpoints.every_epochs": 0,
    "checkpoints.every_steps": 0,
    "checkpoints.seconds_apart": 0,
    "health.images": 1,
    "health.every_epochs": 0,
    "min_learning_rate": 0,
    "log_every": 0,
    "skip": 0,
    "optimizer.momentum": 0,
    "optimizer.weight_decay": 0,
}
# The most.
MOST = {
    "averaging": 0.99999,
    "optimizer.momentum": 0.9999,
    "augment.smoothing": 1,
    "augment.policy.magnitude": 30,
    "augment.policy.probability": 1,
    "augment.erase.probability": 1,
    "augment.mix.probability": 1,
}
# What must be more than 0.
POSITIVE = {
    "augment.mix.alpha",
    "augment.mix.mixup_alpha",
    "augment.mix.cutmix_alpha",
    "learning_rate",
    "optimizer.max_norm",
}
# The words that one of few can be.
WORDS = {
    "augment.policy.resample": sorted(RESAMPLERS),
    "augment.policy.fill": ["black", "mean"],
    "augment.cutout.fill": ["black", "mean"],
    "augment.erase.fill": ["mean", "noise"],
}


def check_values(config: ConfigDict) -> None:
    """Raises UserError for a value that cannot be, and for a warm-up that never ends."""
    for key, value in flatten_dict(config.to_dict(), sep=".").items():
        if key in LEAST and value < LEAST[key]:
            raise UserError(f"config.{key} must be at least {LEAST[key]}, got {value}.")
        if key in MOST and value > MOST[key]:
            raise UserError(f"config.{key} must be at most {MOST[key]}, got {value}.")
        if key in POSITIVE and value <= 0:
            raise UserError(f"config.{key} must be more than 0, got {value}.")
        if key in WORDS and value not in WORDS[key]:
            raise UserError(f"config.{key} is {value!r}; it can be {', '.join(WORDS[key])}.")
    policy = config.get("augment", {}).get("policy", {})
    if policy.get("name") == "rand_increasing" and policy.get("magnitude", 0) > 10:
        raise UserError(
            "config.augment.policy.magnitude of rand_increasing must be at most 10, got "
            f"{policy.magnitude}."
        )
    traced = config.get("profile_steps", ())
    if traced and not (len(traced) == 2 and 1 <= traced[0] <= traced[1]):
        raise UserError(
            f"config.profile_steps is the first and the last step, from 1 on, got {tuple(traced)}."
        )
    if config.warmup_epochs >= config.epochs:
        raise UserError(
            f"config.warmup_epochs must be less than config.epochs, {config.epochs}, "
            f"got {config.warmup_epochs}."
        )
