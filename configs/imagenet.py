"""ImageNet-1k with the settings of the paper's Table 6: SEW-ResNet34, T x D = 1 x 4 (paper: 72.66).

python -m train.main --config configs/imagenet.py

Needs the images as ArrayRecord in data/imagenet, see docs/guide/data.md:

    python -m train.data.prepare imagenet --source DIR --out data/imagenet

Cost: not measured; the paper used eight GPUs. Result: none yet for any variant. The learning rate
is the table's, 50 times a usual one for AdamW. Set data.workers to the number of cores; results do
not depend on it. Other recipes are variants:

- imagenet.py:released, the authors' code: its neuron, and SGD on a batch of 8 x 256 from
  torchvision's weights. First import them into imported/resnet34 (docs/guide/interop.md), or into
  another DIR with --config.pretrained=DIR. The neuron is from their CIFAR code, as in all
  :released variants. Their ImageNet code adds the whole input to a membrane without leak, which is
  --config.neuron.decay=1 --config.neuron.decay_input=False.
- imagenet.py:sew, the recipe of SEW-ResNet: IF neurons, T = 4, SGD, 320 epochs (published: 67.04).
- imagenet.py:sdt, the recipe of the Spike-driven Transformer: LIF neurons, T = 4, LAMB, 300 epochs
  (published, 8-384: 72.28). Its authors state 48 images per GPU but not the number of GPUs; eight
  are assumed. Omitted: ten more epochs at the lowest rate.
- imagenet.py:e_spikeformer, the recipe of E-SpikeFormer-S: I-LIF neurons, T x D = 1 x 4, LAMB, 200
  epochs (published: 75.3).
- imagenet.py:sdt_paper, :sdt_released, :sdt_ours, and likewise e_spikeformer_paper and so on: these
  recipes with PIT, T x D = 1 x 4.

The code of the two transformers differs from ours in two points. Its RandAugment interpolates
between 16 pixels, ours between four (bilinear). The warm-up of the Spike-driven Transformer rises
once per epoch and from 1e-5, ours at each training step and from 0.
"""

from ml_collections import ConfigDict

from configs.base import base
from configs.neurons import MEANINGS, neuron


def get_config(variant: str = "paper") -> ConfigDict:
    config = base()
    config.checkpoints.every_steps = 1000  # An epoch has 5,004 and may take hours.

    config.data = {"name": "imagenet", "data_dir": "data", "size": 224, "workers": 8}
    # Tests: resize to a shorter side of 256, then crop the center. Training: crops of at least 8 %.
    config.data.update({"resize": 256, "least_area": 0.08, "resample": "bilinear"})
    # The workers that read the images also crop them.
    config.augment = {"pad": 0, "flip": True}

    config.model = {"name": "sew_resnet34", "dtype": "float32", "remat": "none"}
    config.loss = {"name": "cross_entropy"}

    config.epochs = 200
    config.batch_size = 256
    # The table states no momentum; 0.9 is AdamW's usual decay of the first moment.
    config.optimizer = {"name": "adamw", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 5e-2
    config.min_learning_rate = 0.0
    config.warmup_epochs = 0

    own = {name: uses for name, (_, uses, _) in RECIPES.items()}
    config.neuron, config.num_steps = neuron(variant, own)
    if variant in own:
        RECIPES[variant][0](config)
    return config


def use_released(config: ConfigDict) -> None:
    config.pretrained = "imported/resnet34"
    config.batch_size = 2048
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4}
    config.learning_rate = 0.01


def use_sew(config: ConfigDict) -> None:
    config.epochs = 320
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.0}
    config.learning_rate = 0.1


def use_sdt(config: ConfigDict) -> None:
    config.model.name = "spike_driven_transformer"
    if config.neuron.name == "LIF":
        config.neuron = SDT_LIF
        config.model.gate_neuron = SDT_LIF | {"threshold": 0.5}

    config.data.update({"resize": 235, "least_area": 0.2, "resample": "bicubic"})
    config.augment.update(
        {
            "repeats": 3,
            "policy": TIMM | {"magnitude": 5},
            "mix": {
                "name": "mixup_or_cutmix",
                "mixup_alpha": 0.2,
                "cutmix_alpha": 1.0,
                "probability": 0.6,
            },
            "smoothing": 0.1,
        }
    )
    config.epochs = 300
    config.batch_size = 8 * 48
    config.optimizer = {"name": "lamb", "momentum": 0.9, "weight_decay": 0.01}
    config.learning_rate = 1.5e-3
    config.min_learning_rate = 1.5e-5
    config.warmup_epochs = 20


def use_spikeformer(config: ConfigDict) -> None:
    config.model.name = "e_spikeformer_s"
    if config.neuron.name == "ILIF":
        # Counts are divided by D, except those of the last neuron.
        config.neuron = {"name": "ILIF", "levels": 4, "decay": 0.0, "normalize": True}
        config.model.head_neuron = {"name": "ILIF", "levels": 4, "decay": 0.0}

    config.data.update({"resize": 232, "resample": "bicubic"})
    config.augment.update(
        {
            "policy": TIMM | {"magnitude": 9},
            "erase": {"probability": 0.25, "fill": "noise"},
            "smoothing": 0.1,
        }
    )
    config.epochs = 200
    config.batch_size = 2048
    config.optimizer = {"name": "lamb", "momentum": 0.9, "weight_decay": 0.05, "trust_clip": True}
    config.learning_rate = 6e-4 * config.batch_size / 256
    config.min_learning_rate = 1e-6
    config.warmup_epochs = 5


SDT_LIF = {
    "name": "LIF",
    "decay": 0.5,
    "threshold": 1.0,
    "decay_input": True,
    "reset": "hard_reset",
    "detach_reset": True,
    "spike": "sigmoid",
}
TIMM = {
    "name": "rand_increasing",
    "num_ops": 2,
    "deviation": 0.5,
    "probability": 0.5,
    "resample": "bilinear",
    "fill": "mean",
}
# For each variant: its recipe, its neuron in configs/neurons.py, and its meaning for --help.
RECIPES = {
    "released": (
        use_released,
        "released",
        "the authors' code: its neuron, torchvision's weights, SGD",
    ),
    "sew": (use_sew, "if", "SEW-ResNet's own recipe: IF neurons, T = 4"),
    "sdt": (use_sdt, "lif", "the Spike-driven Transformer and its own recipe: LIF neurons, T = 4"),
    "sdt_ours": (use_sdt, "ours", "sdt with PIT as in ours"),
    "sdt_paper": (use_sdt, "paper", "sdt with PIT as in paper"),
    "sdt_released": (use_sdt, "released", "sdt with PIT as in released"),
    "sdt_pit": (use_sdt, "pit", "the same as sdt_paper"),
    "e_spikeformer": (
        use_spikeformer,
        "ilif",
        "E-SpikeFormer-S and its own recipe: I-LIF neurons",
    ),
    "e_spikeformer_ours": (use_spikeformer, "ours", "e_spikeformer with PIT as in ours"),
    "e_spikeformer_paper": (use_spikeformer, "paper", "e_spikeformer with PIT as in paper"),
    "e_spikeformer_released": (
        use_spikeformer,
        "released",
        "e_spikeformer with PIT as in released",
    ),
    "e_spikeformer_pit": (use_spikeformer, "pit", "the same as e_spikeformer_paper"),
}
VARIANTS = MEANINGS | {name: meaning for name, (_, _, meaning) in RECIPES.items()}
