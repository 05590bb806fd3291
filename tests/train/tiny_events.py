"""Configs of the smallest runs on event data: one epoch of two frames, 8 x 8 (N-MNIST: 34 x 34).

`--config tests/train/tiny_events.py:cifar10_dvs`; `event_files.py` writes the data.
"""

from ml_collections import ConfigDict

from tests.train import tiny


def get_config(name: str = "cifar10_dvs") -> ConfigDict:
    config = tiny.get_config()
    config.data = {"name": name, "data_dir": "data", "num_frames": 2}
    if name == "n_mnist":
        config.model.stem_stride = 4
    else:
        config.data.size = 8
    config.augment = {"flip": False}
    config.epochs = 1
    # Fewer programs to compile: what a run measures does not depend on the data set.
    config.health.every_epochs = 0
    return config
