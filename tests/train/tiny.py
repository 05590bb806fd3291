"""Config of the smallest run with all parts: two time steps, augmentation, dropped last batch.

It takes two epochs of three training steps.
"""

from ml_collections import ConfigDict

from configs.base import base

STEPS_PER_EPOCH, EPOCHS = 3, 2


def get_config() -> ConfigDict:
    config = base()

    config.data = {"name": "synthetic", "data_dir": "data", "num_train": 100, "num_test": 40}
    config.augment = {"pad": 1, "flip": True}

    config.model = {"name": "resnet8", "stages": (1,), "width": 4}
    config.neuron = {"name": "PIT", "levels": 4, "decay": 0.5, "strength": 0.01}
    config.num_steps = 2
    config.loss = {"name": "cross_entropy"}

    config.epochs = EPOCHS
    config.batch_size = 32
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.1
    config.warmup_epochs = 0

    config.checkpoints.seconds_apart = 0.0  # Every epoch is saved, though none takes a second.
    return config
