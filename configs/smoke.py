"""A few steps on made-up images: whether the program runs, in seconds.

python -m train.main --config configs/smoke.py

Cost: ten seconds. Result: that it ends; two epochs of a network this small learn next to nothing.
"""

from ml_collections import ConfigDict

from configs import digits

VARIANTS = digits.VARIANTS


def get_config(variant: str = "ours") -> ConfigDict:
    config = digits.get_config(variant)
    config.data = {"name": "synthetic", "data_dir": "data"}
    config.model = {"name": "resnet8", "width": 4, "dtype": "float32"}
    config.epochs = 2
    return config
