"""MNIST, 28x28, from its IDX files, which are downloaded if missing (11 MB).

python -m train.main --config configs/mnist.py

Everything except the data and the flips is as in configs/fashion_mnist.py.

Cost: about 15 minutes on two CPU cores. Result: none yet.
"""

from ml_collections import ConfigDict

from configs import fashion_mnist

VARIANTS = fashion_mnist.VARIANTS


def get_config(variant: str = "ours") -> ConfigDict:
    config = fashion_mnist.get_config(variant)
    config.data.name = "mnist"
    # A mirrored 2 is not a 2.
    config.augment.flip = False
    return config
