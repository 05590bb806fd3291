"""The smallest run on a data set of images, `tiny_images.py:NAME`; `image_files.py` writes some."""

from ml_collections import ConfigDict

from tests.train import tiny


def get_config(name: str) -> ConfigDict:
    config = tiny.get_config()
    config.data = {"name": name, "data_dir": "data"}
    config.model.stem_stride = 4
    config.num_steps = 1
    config.epochs = 1
    config.batch_size = 4
    return config
