"""A few steps on generated images: checks in seconds that the program runs.

python -m train.main --config configs/smoke.py

Cost: ten seconds. Result: it ends; two epochs of so small a network learn next to nothing.
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
