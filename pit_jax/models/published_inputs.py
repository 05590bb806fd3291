"""The input of every network of `MODELS` in its publication."""

from typing import NamedTuple


class Input(NamedTuple):
    """Height, width and channels of an image, and the classes; `frames`: an image for each step."""

    shape: tuple[int, int, int]
    num_classes: int
    frames: bool = False

    def batch(self, batch_size: int, num_steps: int) -> tuple[int, ...]:
        """Return the shape of a batch: images `[B, H, W, C]`, or frames `[B, T, H, W, C]`."""
        steps = (num_steps,) if self.frames else ()
        return (batch_size, *steps, *self.shape)


CIFAR10 = Input((32, 32, 3), 10)
IMAGENET = Input((224, 224, 3), 1000)
# Recorded at 128 x 128; the authors' code resizes to 48 x 48.
CIFAR10_DVS = Input((48, 48, 2), 10, frames=True)
DIGITS = Input((8, 8, 1), 10)

INPUTS: dict[str, Input] = {
    "resnet8": DIGITS,
    "resnet18": CIFAR10,
    "resnet19": CIFAR10,
    "resnet20": CIFAR10,
    "resnet34": IMAGENET,
    "sew_resnet18": IMAGENET,
    "sew_resnet34": IMAGENET,
    "sew_resnet50": IMAGENET,
    "sew_resnet101": IMAGENET,
    "sew_resnet152": IMAGENET,
    "ms_resnet18": IMAGENET,
    "ms_resnet34": IMAGENET,
    "vgg11": CIFAR10_DVS,
    "vgg16": CIFAR10,
    "plifnet": CIFAR10,
    "cifarnet": CIFAR10,
    "spike_driven_transformer": IMAGENET,
    "e_spikeformer_t": IMAGENET,
    "e_spikeformer_s": IMAGENET,
    "e_spikeformer_m": IMAGENET,
    "e_spikeformer_l": IMAGENET,
}
