"""CIFAR-100 with the settings of the paper's Table 6: ResNet18, T x D = 1 x 4 (paper: 78.83 %).

python -m train.main --config configs/cifar100.py

Augments with AutoAugment and Cutout, as the paper says. cifar100.py:released follows the authors'
code: its neuron, TrivialAugment, Random Erasing, Mixup or CutMix, and a smaller weight decay.

The official archive, cifar-100-python.tar.gz, is downloaded to data/ if it is missing (169 MB).
Cost: 40 images/s on two CPU cores (W3 in benchmarks/results/table.md), where 200 epochs would take
2.9 days; not measured on an accelerator. Result: none yet.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS | {"released": "the authors' code: its neuron, augmentation and weight decay"}


def get_config(variant: str = "paper") -> ConfigDict:
    config = base()

    config.data = {"name": "cifar100", "data_dir": "data"}
    config.augment = {
        "pad": 4,
        "flip": True,
        "policy": {"name": "autoaugment", "resample": "nearest"},
        "cutout": {"size": 16, "fill": "mean"},
    }

    config.model = {"name": "resnet18", "dtype": "float32", "remat": "none"}
    config.neuron, config.num_steps = neuron(variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 200
    config.batch_size = 128
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.1
    config.warmup_epochs = 0

    if variant == "released":
        config.optimizer.weight_decay = 5e-5
        config.augment = {
            "pad": 0,
            "flip": True,
            "policy": {"name": "trivial", "resample": "bilinear"},
            "erase": {"probability": 0.1},
            "mix": {"name": "mixup_or_cutmix", "mixup_alpha": 0.2, "cutmix_alpha": 1.0},
        }
    return config
