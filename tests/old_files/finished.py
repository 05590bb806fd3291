"""The config of the finished run, with the new key `normalize` instead of the old one."""

from ml_collections import ConfigDict

from configs import smoke


def get_config() -> ConfigDict:
    config = smoke.get_config("pit")
    config.data = {
        "name": "synthetic",
        "data_dir": "data",
        "shape": (6, 6, 1),
        "num_classes": 3,
        "num_train": 64,
        "num_test": 32,
    }
    config.model = {"name": "resnet8", "width": 1, "dtype": "float32"}
    config.neuron = {"name": "ILIF", "levels": 2, "normalize": True}
    config.batch_size = 32
    config.epochs = 1
    config.tensorboard = False
    return config
