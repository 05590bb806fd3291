"""Config of a tiny run with validation images, whose last epochs are worse than earlier ones.

Five epochs of 17 steps on 140 of the digits; 60 are for validation and all others for tests.
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

    # So that running statistics keep up within few steps.
    config.model.update(width=8, norm={"name": "batch_norm", "momentum": 0.5})
    config.num_steps = 1

    config.epochs = EPOCHS
    config.batch_size = 8
    config.schedule = {"name": f"{HERE}:ruin"}
    config.log_every = 0
    config.health.every_epochs = 0
    return config


def spread(logits, labels):
    """Return the standard deviation of the mean logits: a metric defined by a user."""
    del labels
    return logits.mean(axis=1).std()


def ruin(peak: float, *, steps: int):
    """Return a learning rate that ruins the network in the last two of five epochs."""
    return lambda count: peak * jnp.where(count < 3 * steps // EPOCHS, 1, 50)
