"""CIFAR-100 with the settings of the paper's Table 6: ResNet18, T x D = 1 x 4 (paper: 78.83 %).

python -m train.main --config configs/cifar100.py

Needs the official python archive, cifar-100-python.tar.gz, in data/. Cost: 22 images/s on two CPU
cores (benchmarks/training_speed.json), where 200 epochs would take five days; not measured on an
accelerator. Result: none yet. The paper augments with AutoAugment and Cutout; this config crops
and flips only.
"""

from ml_collections import ConfigDict

from configs.neurons import neuron


def get_config(variant: str = "pit") -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.cpu_devices = 1

    config.data = {"name": "cifar100", "data_dir": "data"}
    config.augment = {"pad": 4, "flip": True}

    config.model = {"name": "resnet18", "dtype": "float32"}
    config.neuron, config.num_steps = neuron(variant)
    config.loss = {"name": "cross_entropy"}

    config.epochs = 200
    config.batch_size = 128
    config.optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
    config.learning_rate = 0.1
    config.warmup_epochs = 0
    return config
