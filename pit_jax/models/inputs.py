"""What every network of `MODELS` takes in its publication."""

from typing import NamedTuple


class Input(NamedTuple):
    """Height, width and channels of an image, and the classes; `frames` where each step has one."""

    shape: tuple[int, int, int]
    num_classes: int
    frames: bool = False

    def batch(self, batch_size: int, num_steps: int) -> tuple[int, ...]:
        """The shape of a batch: images `[B, H, W, C]`, or frames `[B, T, H, W, C]`."""
        steps = (num_steps,) if self.frames else ()
        return (batch_size, *steps, *self.shape)


CIFAR10 = Input((32, 32, 3), 10)
IMAGENET = Input((224, 224, 3), 1000)
CIFAR10_DVS = Input((48, 48, 2), 10, frames=True)
DVS_GESTURE = Input((128, 128, 2), 11, frames=True)
DIGITS = Input((8, 8, 1), 10)

INPUTS: dict[str, Input] = {
    "resnet18": CIFAR10,
    "resnet8": DIGITS,
}
