"""Config of the smallest run that reads images from disk, which `imagenet_files.py` writes."""

from ml_collections import ConfigDict

from tests.train import tiny


def get_config() -> ConfigDict:
    config = tiny.get_config()
    config.data = {"name": "imagenet", "data_dir": "data", "size": 8, "workers": 0}
    config.augment.pad = 0
    config.num_steps = 1
    config.batch_size = 4
    return config
