"""Your own event recordings: a folder of train/CLASS/ and test/CLASS/; docs/guide/events.md.

python -m train.main --config configs/event_folder.py

Give the folder, or the name of a data set of tonic:

    --config.data.data_dir=DIR
    --config.data.name=tonic/DVSGesture

Events become ten frames, whose longer side has at most 64 pixels. --config.num_steps changes the
number of frames. Nothing is augmented: --config.augment.flip=True mirrors recordings,
--config.augment.roll=5 shifts them. Cost and result depend on your recordings.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "ours") -> ConfigDict:
    config = base()

    config.neuron, _ = neuron(variant)
    config.num_steps = 10
    config.data = {"name": "event_folder", "data_dir": "data", "cache_dir": "", "size": 64}
    config.data.num_frames = config.get_ref("num_steps")
    config.augment = {"roll": 0, "rotate": 0, "flip": False}

    # A stride-2 stem: a quarter of the work.
    config.model = {"name": "resnet8", "width": 32, "stem_stride": 2, "dtype": "float32"}
    # Weight 0.05 and target 1 are the defaults, so --config.loss.name=cross_entropy drops no key.
    config.loss = {"name": "tet"}

    config.epochs = 30
    config.batch_size = 16
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.05
    config.warmup_epochs = 1
    return config
