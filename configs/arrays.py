"""Your own arrays: an .npz file with x_train, y_train, x_test and y_test; docs/guide/own_data.md.

python -m train.main --config configs/arrays.py

Give the file:

    --config.data.data_dir=FILE.npz

Images are uint8 [N, H, W] or [N, H, W, C], event frames [N, T, H, W, C]; labels are whole numbers
from 0 on. For frames set --config.num_steps=T. Nothing is augmented: images that may be shifted or
mirrored train better with --config.augment.pad=2 or --config.augment.flip=True. For images below
16 x 16 pixels set --config.model.stem_stride=1. Cost and result depend on your arrays.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "ours") -> ConfigDict:
    config = base()

    config.data = {"name": "arrays", "data_dir": "data"}
    config.augment = {"pad": 0, "flip": False}

    # A stride-2 stem: a quarter of the work.
    config.model = {"name": "resnet8", "width": 32, "stem_stride": 2, "dtype": "float32"}
    config.neuron, config.num_steps = neuron(variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 30
    config.batch_size = 32
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.05
    config.warmup_epochs = 1
    return config
