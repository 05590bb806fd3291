"""A tiny run with validation images, whose last epochs are worse than those before.

Five epochs of 17 steps on 140 of the digits, 60 for validation; all others are for tests.
"""

import jax.numpy as jnp
from ml_collections import ConfigDict

from tests.train import tiny

STEPS_PER_EPOCH, EPOCHS = 17, 5
HERE = "tests.train.tiny_validated"


def get_config() -> ConfigDict:
    config = tiny.get_config()

    config.data = {"name": "digits", "data_dir": "data", "train_images": 200, "validation": 0.3}
    config.augment = {"pad": 0, "flip": False}
    config.metrics = ("top5", f"{HERE}:spread")

    # Running statistics that follow so few steps.
    config.model.update(width=8, norm={"name": "batch_norm", "momentum": 0.5})
    config.num_steps = 1

    config.epochs = EPOCHS
    config.batch_size = 8
    config.schedule = {"name": f"{HERE}:ruin"}
    config.log_every = 0
    return config


def spread(logits, labels):
    """Return how far the mean logits are apart: a metric of a user."""
    del labels
    return logits.mean(axis=1).std()


def ruin(peak: float, *, steps: int):
    """Return a learning rate that undoes in the last two of five epochs what was learned."""
    return lambda count: peak * jnp.where(count < 3 * steps // EPOCHS, 1, 50)
