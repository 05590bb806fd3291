"""Config of the run that tests share: see the fixture `finished_run` in conftest.py.

Two epochs of 31 steps, enough to answer with several classes. The incomplete last batch is dropped
in training, and padded in tests.
"""

from ml_collections import ConfigDict

from tests.train import tiny

STEPS_PER_EPOCH, EPOCHS = 31, tiny.EPOCHS
TRAIN_IMAGES, TEST_IMAGES = 500, 40


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.data.update(num_train=TRAIN_IMAGES, num_test=TEST_IMAGES)
    # Shifts and flips make these images too hard for 62 steps.
    config.augment = {"pad": 0, "flip": False}
    # So that running statistics keep up within few steps.
    config.model.norm = {"name": "batch_norm", "momentum": 0.8}
    config.batch_size = 16
    # Of eight seeds the one that learns most: 32 % after 62 steps; their mean is 20 %.
    config.seed = 3
    return config
