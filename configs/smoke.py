"""A few steps on generated images: checks in seconds that the program runs.

python -m train.main --config configs/smoke.py

Cost: ten seconds. Result: the program completes. Two epochs of such a small network learn almost
nothing.
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
