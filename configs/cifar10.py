"""CIFAR-10 with the settings of the paper's Table 6: ResNet18, T x D = 1 x 4 (paper: 95.86 %).

python -m train.main --config configs/cifar10.py

Needs the official python archive, cifar-10-python.tar.gz, in data/. Augmentation, cost and result
as for CIFAR-100: AutoAugment and Cutout or cifar10.py:released, five days on two CPU cores, none.
"""

from ml_collections import ConfigDict

from configs import cifar100


def get_config(variant: str = "pit") -> ConfigDict:
    config = cifar100.get_config(variant)
    config.data.name = "cifar10"
    config.optimizer.weight_decay = 5e-5
    return config
