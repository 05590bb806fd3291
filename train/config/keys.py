"""The keys of a config that belong to no part: of the run, and of sections without a name.

The functions that use the values declare their bounds.
"""

from typing import NamedTuple


# Named tuples, whose signatures have the keys with types and defaults, as those of parts have.
class RunKeys(NamedTuple):
    """The keys of a run outside of any section.

    Args:
        epochs: passes over the training images.
        extend: epochs to train a finished run after `epochs`, from a tenth of its learning rate.
        batch_size: images per training step, on all devices together.
        learning_rate: the peak of the schedule.
        num_steps: the time steps T of the network; event data need T frames.
        min_learning_rate: the learning rate at the end of the schedule.
        warmup_epochs: epochs in which the learning rate rises from 0 to its peak.
        seed: the seed of the weights, the order of the images and all other draws.
        metrics: functions of (logits, labels) whose means are added to an epoch's record: top5,
            entropy, margin, negative_log_likelihood, or import paths.
        pretrained: the folder, of a run or of pit_jax.interop, with the initial weights.
        reinitialize: prefixes of the names of layers that `pretrained` does not set.
        freeze: prefixes of the names of layers whose weights stay fixed.
        accumulate: the number of equal parts in which a batch is processed, to save memory.
        averaging: above 0, tests use an exponential average of the weights with this decay.
        skip: how many training steps may be skipped because loss or gradient is not finite.
        cpu_devices: the number of virtual devices, on CPUs only.
        log_every: training steps between two lines in metrics.jsonl; 0 writes none.
        evaluate_every: epochs from one evaluation to the next; the last is always evaluated, and
            with 0 only the last.
        tensorboard: also write the records for TensorBoard, to tensorboard/ in the run's folder.
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
    extend: int | tuple[int, ...] = 0
    skip: int = 0
    cpu_devices: int = 1
    log_every: int = 50
    evaluate_every: int = 1
    tensorboard: bool = True
    profile_steps: tuple[int, ...] = ()


class AugmentKeys(NamedTuple):
    """The augmentation of the training images, in the order in which it is applied.

    Args:
        pad: pixels of zeros around an image before a random crop of its size.
        flip: mirror each image left to right with probability 1/2.
        roll: shift frames of events by at most this number of pixels.
        rotate: rotate frames of events by at most this number of degrees.
        smoothing: the share of a label that is spread evenly over all classes.
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
        last: the number of newest checkpoints to keep.
        every_epochs: keep one of every N epochs for good; 0 keeps none.
        every_steps: save within an epoch, every N training steps; 0 never does.
        seconds_apart: the shortest time between saves; epochs that end sooner wait in memory.
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
        project: the project that receives the metrics; none if empty. It needs `pip install wandb`.
    """

    project: str = ""
