"""Your own images: a folder of train/CLASS/ and test/CLASS/, or CLASS/; docs/guide/own_data.md.

python -m train.main --config configs/folder.py

Give the folder, and the height and width to which images are resized. The folder can also have just
a folder for each class, or tables of labels. For a data set of TensorFlow Datasets give its name:

    --config.data.data_dir=DIR --config.data.size=64
    --config.data.name=tfds/tf_flowers

An SEW-ResNet18 of half the width is small enough for CPUs. For many or large images use
--config.model.width=64 or --config.model.name=sew_resnet34, which can start from published weights
(docs/guide/interop.md). Set --config.augment.flip=False if a mirror image would belong to another
class. Cost and result depend on your images.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "ours") -> ConfigDict:
    config = base()

    config.data = {"name": "folder", "data_dir": "data", "size": 64}
    config.augment = {
        "pad": 8,
        "flip": True,
        "policy": {"name": "trivial", "resample": "bilinear", "fill": "mean"},
    }

    config.model = {"name": "sew_resnet18", "width": 32, "dtype": "float32"}
    config.neuron, config.num_steps = neuron(variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 30
    config.batch_size = 32
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.05
    config.warmup_epochs = 1
    return config
