"""The config of the run that all tests share: see the fixture `finished_run` in conftest.py.

Two epochs of 31 steps, enough for answers of several classes. The incomplete last batch of
training images is dropped and that of the 40 test images is padded.
"""

from ml_collections import ConfigDict

from tests.train import tiny

STEPS_PER_EPOCH, EPOCHS = 31, tiny.EPOCHS
TRAIN_IMAGES, TEST_IMAGES = 500, 40


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.data.update(num_train=TRAIN_IMAGES, num_test=TEST_IMAGES)
    # Shifted or mirrored, these images have few features in common.
    config.augment = {"pad": 0, "flip": False}
    # Running statistics that follow so few steps.
    config.model.norm = {"name": "batch_norm", "momentum": 0.8}
    config.batch_size = 16
    return config
