"""The config of the stopped run, with the old key `parametrise`."""

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
    config.neuron = {
        "name": "PIT",
        "levels": 2,
        "decay": 0.5,
        "detach_reset": False,
        "strength": 0.01,
        "parametrise": "released",
        "scale_init": "three_sigma",
    }
    config.num_steps = 2
    config.batch_size = 32
    config.epochs = 3
    config.tensorboard = False
    config.checkpoints.every_steps = 1
    config.checkpoints.seconds_apart = 0.0
    return config
