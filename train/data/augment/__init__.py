"""Augmentation on the device: pure functions of a key and a batch, for use inside jit."""

from .basic import flip, normalize, pad_crop
from .erase import cutout, random_erasing
from .frames import flip_frames, roll_frames, rotate_frames
from .geometry import RESAMPLERS
from .mix import MIXES, cutmix, mixup, mixup_or_cutmix
from .policies import (
    POLICIES,
    auto_augment,
    rand_augment,
    rand_augment_increasing,
    trivial_augment_wide,
)

__all__ = [
    "MIXES",
    "POLICIES",
    "RESAMPLERS",
    "auto_augment",
    "cutmix",
    "cutout",
    "flip",
    "flip_frames",
    "mixup",
    "mixup_or_cutmix",
    "normalize",
    "pad_crop",
    "rand_augment",
    "rand_augment_increasing",
    "random_erasing",
    "roll_frames",
    "rotate_frames",
    "trivial_augment_wide",
]
