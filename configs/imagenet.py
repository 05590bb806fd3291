"""ImageNet-1k with the settings of the paper's Table 6: SEW-ResNet34, T x D = 1 x 4 (paper: 72.66).

python -m train.main --config configs/imagenet.py

Needs the images as ArrayRecord in data/imagenet, see docs/data.md:

    python -m train.data.prepare imagenet --source DIR --out data/imagenet

Cost: not measured; the paper used eight GPUs. Result: none yet. The learning rate is the table's,
50 times a usual one for AdamW. imagenet.py:sew is SEW-ResNet's own recipe: IF neurons, T = 4, SGD,
320 epochs (published: 67.04). Give data.workers one process for each core: results do not change.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import neuron


def get_config(variant: str = "pit") -> ConfigDict:
    config = base()
    config.checkpoints.every_steps = 1000  # Of 5,004: an epoch may take hours.

    config.data = {"name": "imagenet", "data_dir": "data", "size": 224, "workers": 8}
    # The workers crop.
    config.augment = {"pad": 0, "flip": True}

    config.model = {"name": "sew_resnet34", "dtype": "float32"}
    config.neuron, config.num_steps = neuron("if" if variant == "sew" else variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 200
    config.batch_size = 256
    # The table gives no momentum; 0.9 is AdamW's usual decay of the first moment.
    config.optimizer = {"name": "adamw", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 5e-2
    config.warmup_epochs = 0
    if variant == "sew":
        config.epochs = 320
        config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0}
        config.learning_rate = 0.1
    return config
