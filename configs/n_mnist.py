"""N-MNIST: MNIST filmed by a moving event camera, 34x34, ten frames of counts.

python -m train.main --config configs/n_mnist.py

Needs Train.zip and Test.zip from https://www.garrickorchard.com/datasets/n-mnist in data/, or
`pip install tonic`, which downloads them (docs/guide/data.md). The frames take 3.2 GB of the
device's memory. Cost and result: not measured.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "ours") -> ConfigDict:
    config = base()

    config.neuron, _ = neuron(variant)
    config.num_steps = 10
    config.data = {
        "name": "n_mnist",
        "data_dir": "data",
        "cache_dir": "",
        "split_by": "number",
    }
    config.data.num_frames = config.get_ref("num_steps")
    # No flip: a mirrored 2 is not a 2.
    config.augment = {"roll": 0, "rotate": 0}

    # A stride-2 stem: the network works at 17x17.
    config.model = {"name": "resnet8", "width": 32, "stem_stride": 2, "dtype": "float32"}
    # Weight 0.05 and target 1 are the defaults, so --config.loss.name=cross_entropy drops no key.
    config.loss = {"name": "tet"}

    config.epochs = 10
    config.batch_size = 128
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.1
    config.warmup_epochs = 1
    return config
