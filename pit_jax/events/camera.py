"""A simulated event camera that moves over a still image in three saccades, as for CIFAR10-DVS.

files.py reads recordings of real cameras.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from pit_jax.checks.bounds import NOT_NEGATIVE, POSITIVE, between, set_bounds, whole
from pit_jax.events.stream import pack_events

# A triangle of saccades, as in N-MNIST (Orchard et al. 2015): offsets (y, x) of the image at their
# ends, in units of `reach`. The image moves down and right, up and right, and straight back.
_CORNERS = np.array([(-0.5, -0.5), (0.5, 0.0), (-0.5, 0.5), (-0.5, -0.5)])


# Coordinates have 16 bits, and no pixel fires twice in a microsecond.
@set_bounds(
    **dict.fromkeys(("height", "width"), whole(1, 2**16)),
    **dict.fromkeys(("saccade", "sample"), whole()),
    **dict.fromkeys(("reach", "spread"), NOT_NEGATIVE),
    threshold=POSITIVE,
    noise=between(0, 1_000_000),
)
@dataclass(frozen=True)
class Camera:
    """A sensor of `height` x `width` pixels that fire when the log of their light changes.

    A pixel fires ON or OFF each time its log intensity has risen or fallen by its threshold since
    its last event. Thresholds vary between pixels, with mean `threshold` and standard deviation
    `spread`, and each pixel also fires at random, `noise` times a second. The gaze moves by `reach`
    pixels along three straight saccades of `saccade` µs, sampled every `sample` µs. Raises
    ValueError for invalid values.
    """

    height: int
    width: int
    reach: float = 4.0
    threshold: float = 0.25
    spread: float = 0.03
    noise: float = 1.0
    saccade: int = 100_000
    sample: int = 5_000

    def __post_init__(self) -> None:
        if not self.threshold > 4 * self.spread:
            raise ValueError(
                f"threshold must be more than four times the spread, {self.spread}, to keep the "
                f"thresholds of all pixels away from 0; got {self.threshold}."
            )
        if self.saccade % self.sample:
            raise ValueError(
                f"saccade must be a multiple of sample={self.sample} µs, got {self.saccade} µs."
            )

    def record(self, image: object, *, seed: int) -> np.ndarray:
        """Return the events of one recording of a uint8 `image` `[h, w]`, in order of time.

        The image is centered in the field of view, on black. The same seed returns the same
        events. Raises ValueError for an image of another dtype or rank, or larger than the sensor.
        """
        whole(0, math.inf)("seed", seed)  # NumPy takes seeds of any size.
        random = np.random.default_rng(seed)
        size = (self.height, self.width)
        thresholds = np.maximum(
            random.normal(self.threshold, self.spread, (2, *size)), self.threshold / 4
        )
        parts = list(self._find_crossings(_pad(np.asarray(image), *size), thresholds))
        parts.append(self._draw_noise(random))
        events = np.concatenate(parts)
        return events[np.argsort(events["t"], kind="stable")]

    @property
    def duration(self) -> int:
        """The length of a recording, in µs."""
        return 3 * self.saccade

    def _find_crossings(
        self, scene: Float[np.ndarray, "h w"], thresholds: Float[np.ndarray, "2 h w"]
    ) -> Iterator[np.ndarray]:
        fall, rise = thresholds
        light = np.log(self._project(scene, 0))
        reference = light
        for start in range(0, self.duration, self.sample):
            before, light = light, np.log(self._project(scene, start + self.sample))
            # A pixel fires once for every threshold between its light and the reference, the light
            # at its last event; the time of each crossing is interpolated within the sample.
            up = np.floor(np.maximum(light - reference, 0) / rise).astype(int)
            down = np.floor(np.maximum(reference - light, 0) / fall).astype(int)
            step = np.where(up > 0, rise, -fall)
            for count in range(1, 1 + max(up.max(), down.max())):
                y, x = np.nonzero((up >= count) | (down >= count))
                level = (reference + count * step)[y, x]
                share = (level - before[y, x]) / (light - before)[y, x]
                # Rounding down keeps the time within its own sample.
                t = start + (np.clip(share, 0, 1) * (self.sample - 1)).astype(int)
                yield pack_events(t, x, y, up[y, x] > 0)
            reference = reference + (up + down) * step

    def _project(self, scene: Float[np.ndarray, "h w"], t: int) -> Float[np.ndarray, "h w"]:
        """Return the light on the sensor at time t: the scene, shifted bilinearly."""
        leg, along = divmod(t / self.saccade, 1)
        here, there = _CORNERS[int(leg)], _CORNERS[min(int(leg) + 1, 3)]
        dy, dx = (self.reach * (here + along * (there - here))).tolist()
        return _shift(_shift(scene, dy, axis=0), dx, axis=1)

    def _draw_noise(self, random: np.random.Generator) -> np.ndarray:
        count = random.poisson(self.noise * self.height * self.width * self.duration / 1e6)
        return pack_events(
            random.integers(0, self.duration, count),
            random.integers(0, self.width, count),
            random.integers(0, self.height, count),
            random.integers(0, 2, count),
        )


def _pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the light of the image on black, from 0.1 to 1.1, so that its log is finite."""
    shape = image.shape
    if image.dtype != np.uint8 or len(shape) != 2 or shape[0] > height or shape[1] > width:
        raise ValueError(
            f"a camera of {height} x {width} pixels takes uint8 images [h, w] up to that size, got "
            f"{image.dtype} {shape}."
        )
    rows, columns = height - shape[0], width - shape[1]
    around = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    return 0.1 + np.pad(image, around) / 255


def _shift(x: Float[np.ndarray, "h w"], by: float, axis: int) -> Float[np.ndarray, "h w"]:
    """Return `x` shifted by a fraction of a pixel, with its border repeated."""
    whole = int(np.floor(by))
    part = by - whole
    index = np.arange(x.shape[axis]) - whole
    near, far = (np.take(x, np.clip(index - extra, 0, x.shape[axis] - 1), axis) for extra in (0, 1))
    return (1 - part) * near + part * far
