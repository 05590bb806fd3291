"""Handwritten digits, 8x8, that ship with scikit-learn.

python -m train.main --config configs/digits.py

Cost: 45 seconds on two CPU cores. Result: 99.33 +- 0.32 % of 360 test images, 98.94 +- 0.23 % with
digits.py:paper (last epoch, seeds 0 to 4; docs/results.md).
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "ours") -> ConfigDict:
    config = base()

    config.data = {"name": "digits", "data_dir": "data"}
    config.augment = {"pad": 1, "flip": False}

    config.model = {"name": "resnet8", "width": 24, "dtype": "float32"}
    config.neuron, config.num_steps = neuron(variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 30
    config.batch_size = 64
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.1
    config.warmup_epochs = 0
    return config
