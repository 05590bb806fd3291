"""The data and the size of the network of each group of cases, by scale."""

from collections.abc import Mapping
from typing import NamedTuple


class Group(NamedTuple):
    """Settings that the cases of a group share.

    Args:
        page: the config page.
        seeds: how many seeds a case has, unless an experiment says otherwise.
        settings: overrides, separated by spaces.
    """

    page: str
    seeds: int
    settings: str


# Logs that no page of results needs.
LEAN = "tensorboard=False health.every_epochs=0 log_every=0"
# A run of seconds saves only its first and last state; if it is killed, it starts from scratch.
SHORT = f"{LEAN} checkpoints.seconds_apart=1e9"
# 200 digits of 10 classes, tested on the other 1,597. With all 1,437 training images every neuron
# is at 98-99 %, too close to each other for a comparison.
DIG200 = f"{SHORT} data.train_images=200 epochs=60 batch_size=50 evaluate_every=0"
SMALL = "model.width=16"
FASHION = f"{LEAN} {SMALL} warmup_epochs=0"
# The reset is detached for all neurons. A gradient through it costs PIT 2.6 points on these data
# (docs/results.md), more than the difference between neurons.
EVENTS = f"{SHORT} neuron.detach_reset=True evaluate_every=0"
RESNET18 = "model.name=resnet18 model.width=64 model.dtype=bfloat16"
# The smallest residual network: one block of four channels.
TINY = "model.width=4 model.stages=(1,) epochs=4 batch_size=20"

GROUPS: Mapping[str, Mapping[str, Group]] = {
    "laptop": {
        "dig200": Group("digits", 20, f"{DIG200} {SMALL}"),
        # Tested after each epoch, for the learning curves of Figure 3.
        "FM12k": Group("fashion_mnist", 5, f"{FASHION} data.train_images=12000 epochs=8"),
        "FM": Group("fashion_mnist", 3, f"{FASHION} epochs=5 evaluate_every=0"),
        "dvs400": Group("dvs_digits", 5, f"{EVENTS} data.train_images=400 epochs=15 batch_size=50"),
    },
    "medium": {
        "dig200": Group("digits", 10, f"{DIG200} {RESNET18}"),
        "FM": Group("fashion_mnist", 3, f"{LEAN} {RESNET18} model.stem_stride=1 epochs=30"),
        "dvs": Group(
            "dvs_digits",
            3,
            f"{EVENTS} model=vgg11 model.pool_after=(2,4) model.dtype=bfloat16 epochs=60",
        ),
    },
    "smoke": {
        "dig100": Group("digits", 2, f"{SHORT} {TINY} data.train_images=100"),
        "dvs100": Group("dvs_digits", 2, f"{EVENTS} {TINY} data.train_images=100"),
    },
}
