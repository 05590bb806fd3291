"""Configs of the smallest runs on images that `image_files.py` writes: `tiny_images.py:NAME`."""

from ml_collections import ConfigDict

from tests.train import tiny


def get_config(name: str) -> ConfigDict:
    config = tiny.get_config()
    config.data = {"name": name, "data_dir": "data"}
    config.model.stem_stride = 4
    config.num_steps = 1
    config.epochs = 1
    config.batch_size = 4
    # Fewer programs to compile: what a run measures does not depend on the data set.
    config.health.every_epochs = 0
    return config
