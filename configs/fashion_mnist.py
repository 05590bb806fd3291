"""Fashion-MNIST, 28x28, from its IDX files (Debian: apt-get install dataset-fashion-mnist).

python -m train.main --config configs/fashion_mnist.py

Cost: about 15 minutes on two CPU cores (769 images/s). Result: 91.71 % of 10,000 test images
with fashion_mnist.py:paper (last epoch, seed 0; docs/results.md).
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "ours") -> ConfigDict:
    config = base()

    config.data = {"name": "fashion_mnist", "data_dir": "data"}
    config.augment = {"pad": 2, "flip": True}

    # A stride-2 stem: the network works at 14x14, seven times faster than at 28x28.
    config.model = {"name": "resnet8", "width": 32, "stem_stride": 2, "dtype": "float32"}
    config.neuron, config.num_steps = neuron(variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 10
    config.batch_size = 128
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.1
    config.warmup_epochs = 1
    return config
