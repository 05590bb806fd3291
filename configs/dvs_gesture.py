"""DVS128-Gesture with the settings of the paper's Table 6: VGG11, T x D = 20 x 2 (paper: 98.26 %).

python -m train.main --config configs/dvs_gesture.py

Needs IBM's archive, or tonic's copy, in data/ (docs/guide/data.md). The frames take 2 GB of the
device's memory. Cost and result: not measured. The paper counts 1,208 and 134 gestures; IBM's lists
and the authors' code have 1,176 and 288.

--config.neuron.levels=1 is the paper's 20 x 1 (98.23 %). dvs_gesture.py:released is the neuron of
the authors' code, which has four levels.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron

VARIANTS = MEANINGS


def get_config(variant: str = "paper") -> ConfigDict:
    config = base()

    config.neuron, _ = neuron(variant)
    if "levels" in config.neuron and variant != "released":
        config.neuron.levels = 2
    config.num_steps = 20  # Table 12; the text of Appendix E.4 says 10.
    config.data = {
        "name": "dvs_gesture",
        "data_dir": "data",
        "cache_dir": "",
        "split_by": "number",
        "size": 128,
    }
    config.data.num_frames = config.get_ref("num_steps")
    # No flip: it would turn a right hand into a left one.
    config.augment = {"roll": 0, "rotate": 0}

    # The authors' code has dropout 0.4 after every neuron.
    config.model = {
        "name": "vgg11",
        "pool_after": (1, 2, 4, 6, 8),
        "dropout": 0.4,
        "dtype": "float32",
    }
    # Weight 0.05 and target 1 are the defaults, so --config.loss.name=cross_entropy drops no key.
    config.loss = {"name": "tet"}

    config.epochs = 300
    config.batch_size = 16
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.05
    config.warmup_epochs = 0
    return config
