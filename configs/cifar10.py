"""CIFAR-10 with the settings of the paper's Table 6: ResNet18, T x D = 1 x 4 (paper: 95.86 %).

python -m train.main --config configs/cifar10.py

The official archive, cifar-10-python.tar.gz, is downloaded to data/ if it is missing (170 MB). The
augmentation, variants and cost are those of configs/cifar100.py. Result: none yet.
"""

from ml_collections import ConfigDict

from configs import cifar100

VARIANTS = cifar100.VARIANTS


def get_config(variant: str = "paper") -> ConfigDict:
    config = cifar100.get_config(variant)
    config.data.name = "cifar10"
    config.optimizer.weight_decay = 5e-5
    return config
