"""The keys of a config that no part owns: those of a run, and of sections without a name.

Their values are checked where they are used; the bounds are declared there.
"""

from typing import NamedTuple


class RunKeys(NamedTuple):
    """The keys of a run that are in no section.

    Args:
        epochs: how often the training images are seen.
        batch_size: images of a training step, on all devices together.
        learning_rate: the peak of the schedule.
        num_steps: T, how often the network runs for one image; frames of events have as many.
        min_learning_rate: the learning rate at the end of the schedule.
        warmup_epochs: epochs in which the learning rate rises from 0 to its peak.
        seed: of the weights, the order of the images and all other draws.
        metrics: functions of (logits, labels) whose means join an epoch's record: top5, entropy,
            margin, negative_log_likelihood, or import paths.
        pretrained: the folder of a run, or of pit_jax.interop, that the weights start from.
        reinitialize: layers, by the beginnings of their names, that `pretrained` does not set.
        freeze: layers, by the beginnings of their names, that keep their weights.
        accumulate: parts in which a batch passes the network, to save memory.
        averaging: above 0, tests use an exponential average of the weights with this decay.
        skip: training steps that may be skipped because loss or gradient is not finite.
        cpu_devices: virtual devices, on CPUs only.
        log_every: training steps between two lines in metrics.jsonl; 0 writes none.
        tensorboard: write the same for TensorBoard, in the folder tensorboard/ of the run.
        profile_steps: the first and the last step of a trace for XProf, such as (20, 25).
    """

    epochs: int
    batch_size: int
    learning_rate: float
    num_steps: int
    min_learning_rate: float = 0.0
    warmup_epochs: int = 0
    seed: int = 0
    metrics: tuple[str, ...] = ()
    pretrained: str = ""
    reinitialize: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    accumulate: int = 1
    averaging: float = 0.0
    skip: int = 0
    cpu_devices: int = 1
    log_every: int = 50
    tensorboard: bool = True
    profile_steps: tuple[int, ...] = ()


class AugmentKeys(NamedTuple):
    """The augmentation of the training images, in the order in which it happens.

    Args:
        pad: pixels of zeros around an image before a random crop of its size.
        flip: mirror each image left to right with probability 1/2.
        roll: shift frames of events by at most this number of pixels.
        rotate: rotate frames of events by at most these degrees.
        smoothing: the part of a label that all classes share.
        repeats: copies of an image in a batch, each augmented in its own way.
    """

    pad: int = 0
    flip: bool = False
    roll: int = 0
    rotate: int = 0
    smoothing: float = 0.0
    repeats: int = 1


class FillKeys(NamedTuple):
    """The color of pixels that an augmentation leaves empty.

    Args:
        fill: the color of empty pixels: black, or mean for the mean of the training images.
    """

    fill: str | None = None


class CheckpointKeys(NamedTuple):
    """The checkpoints that a run keeps, in addition to the first and the best.

    Args:
        last: how many of the newest are kept.
        every_epochs: keep one of every N epochs for good; 0 keeps none.
        every_steps: save within an epoch, every N training steps; 0 never does.
        seconds_apart: epochs that end sooner after the latest save wait in memory.
    """

    last: int = 2
    every_epochs: int = 0
    every_steps: int = 0
    seconds_apart: float = 30.0


class HealthKeys(NamedTuple):
    """The measures of scales, firing and rounding in every layer.

    Args:
        images: training images on which they are measured.
        every_epochs: epochs from one measurement to the next; 0 never measures.
    """

    images: int = 64
    every_epochs: int = 1


class WandbKeys(NamedTuple):
    """The log for Weights & Biases.

    Args:
        project: the project that gets the metrics; none if empty. It needs `pip install wandb`.
    """

    project: str = ""
