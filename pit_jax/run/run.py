"""A trained network with all that is needed to use it: weights, classes, normalization, images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pit_jax.checks.arrays import read_array
from pit_jax.checks.bounds import Interval, set_bounds
from pit_jax.display import show_name
from pit_jax.tuning import compiler_options

if TYPE_CHECKING:
    from pit_jax.inference import SpikingProgram

# Takes a split and a number of samples, or None for all; returns raw images and labels.
Load = Callable[[str, int | None], tuple[np.ndarray, np.ndarray]]
# The images that `compile` verifies the program with.
SAMPLE = 64
MOST_CLASSES = 20
NUMBER = Interval(1, whole=True, optional=True)


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained network, as `pit_jax.open_run` and `pit_jax.examples` return it.

    Attributes:
        model: the network; `model.apply(variables, run.normalize(images))` returns logits
            `[B, T, K]`.
        variables: the trained parameters and statistics.
        config: the config of the training, as a plain dict.
        classes: the name of each class, by label.
        shape: the shape of one raw image, `H W C`, or of frames, `T H W C`.
        mean: the mean of each channel, for pixels scaled to 0..1; empty for frames and floats,
            which enter the network unchanged.
        std: the standard deviation of each channel.
        load: returns the raw images and labels of a split, see `images`.
        about: where the network comes from: title, checkpoint, step, seed, commit, command.
    """

    model: nn.Module
    variables: Mapping[str, Any]
    config: dict[str, Any]
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    load: Load
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """The number of classes K."""
        return len(self.classes)

    @set_bounds(count=NUMBER)
    def images(
        self, split: str = "test", count: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the raw images `[N, ...]` and the labels `[N]` of a split, without augmentation.

        `split` is `test`, `train` or `validation`; `count` returns only that many, evenly spaced.
        Raises ValueError for a split that does not exist, and if the data are not found.
        """
        return self.load(split, count)

    def normalize(self, images: Any) -> Float[Array, "B ..."]:
        """Return the inputs of the network: (x / 255 - mean) / std of each channel, as floats.

        Frames and images of floats are only converted to floats. They are the floats with which
        compiled programs are verified; under `jax.jit` their last bits may differ. Raises
        ValueError for other shapes, and for pixels that are not uint8.
        """
        images = self._check(images)
        if not isinstance(images, jax.core.Tracer):
            # In NumPy, which rounds every operation: XLA may multiply by 1 / 255 instead.
            images = np.asarray(images)
        return jnp.asarray(self._normalize(images))

    @set_bounds(batch_size=NUMBER)
    def logits(self, images: Any, batch_size: int | None = None) -> Float[np.ndarray, "B K"]:
        """Return the logits of raw images, the mean over the time steps.

        See `predict`.
        """
        images = np.asarray(self._check(images))
        size = batch_size or self.config.get("batch_size", SAMPLE)
        found = [np.empty((0, self.num_classes), np.float32)]
        for start in range(0, len(images), size):
            batch = images[start : start + size]
            # Padded, so that one compiled program computes every batch: the logits of an image do
            # not depend on the other images.
            missing = size - len(batch)
            padded = np.concatenate([batch, np.zeros((missing, *self.shape), batch.dtype)])
            found.append(np.asarray(self._apply(self.variables, padded))[: len(batch)])
        return np.concatenate(found)

    def predict(self, images: Any, batch_size: int | None = None) -> Float[np.ndarray, "B K"]:
        """Return the probability of each class for raw images, as `images` returns them.

        Args:
            images: `[B, *shape]`, uint8 pixels, or frames, or floats.
            batch_size: the number of images that the network takes at once; smaller batches are
                padded to it, so choose 1 for single images of a large network. By default the
                batch size of training, which `train.evaluate` uses too.

        Raises ValueError for other shapes, and for pixels that are not uint8.
        """
        return np.asarray(jax.nn.softmax(self.logits(images, batch_size)))

    def compile(self, images: Any = None, **options: Any) -> "SpikingProgram":
        """Compile the network to binary spikes; see `pit_jax.inference.compile`.

        The program is verified with raw `images`, by default some of the test images. It takes
        raw uint8 images, or the floats that `normalize` returns. `options` are those of
        `pit_jax.inference.compile`.
        """
        from pit_jax.inference import compile

        if images is None:
            images, _ = self.images("test", SAMPLE)
        images = self._check(images)
        if self.mean or len(self.shape) == 4:
            options = {"mean": self.mean, "std": self.std, **options}
        sample = images if images.dtype == np.uint8 else self.normalize(images)
        return compile(self.model, self.variables, sample, **options)

    def __str__(self) -> str:
        about = self.about
        names = [*map(show_name, self.classes[:MOST_CLASSES])]
        more = ", …" if len(names) < self.num_classes else ""
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))
        rows = {
            "folder": show_name(about["folder"]) if "folder" in about else "",
            "checkpoint": f"{about['checkpoint']}, step {about['step']:,}" if about else "",
            "accuracy": f"{about['test_accuracy']:.2%}, test" if "test_accuracy" in about else "",
            "parameters": f"{parameters:,}",
            "input": self._describe_input(),
            "classes": f"{self.num_classes}: {', '.join(names)}{more}",
        }
        lines = [f"  {name:<11} {value}" for name, value in rows.items() if value]
        return "\n".join([about.get("title", type(self.model).__name__), *lines])

    __repr__ = __str__

    def _describe_input(self) -> str:
        shape = f"[B, {', '.join(map(str, self.shape))}]"
        if not self.mean:
            return f"frames of counts {shape}" if len(self.shape) == 4 else f"floats {shape}"
        mean, std = (", ".join(f"{x:.3g}" for x in values) for values in (self.mean, self.std))
        return f"uint8 images {shape}, normalized by mean {mean} and std {std}"

    def _check(self, images: Any) -> Any:
        """Return raw images as an array; raise ValueError for what the network does not take."""
        images = read_array("images", images)
        if images.ndim != len(self.shape) + 1 or images.shape[1:] != self.shape:
            hint = " Add an axis for the batch: images[None]." * (images.shape == self.shape)
            gray = (*images.shape[1:], 1) == self.shape
            hint = " Add an axis for the channel: images[..., None]." if gray else hint
            wanted = f"[B, {', '.join(map(str, self.shape))}]"
            raise ValueError(f"images must be {wanted}, got the shape {images.shape}.{hint}")
        if self.mean and images.dtype != np.uint8:
            # Other integers and bools may be pixels; floats may be normalized already.
            advice = (
                "Normalized images go to run.model.apply(run.variables, images)."
                if jnp.issubdtype(images.dtype, jnp.floating)
                else "Convert pixels of 0 to 255 with np.asarray(images, np.uint8)."
            )
            raise ValueError(
                f"images must be uint8, 0 to 255, as run.images returns them; got {images.dtype}. "
                f"{advice}"
            )
        return images

    def _normalize(self, images: Any) -> Any:
        """Return inputs of the network, in NumPy or JAX as the images are given."""
        # At least float32; float64 under x64.
        dtype = np.dtype(jnp.result_type(float))
        if not self.mean:
            return images.astype(dtype)
        mean, std = (np.asarray(values, dtype) for values in (self.mean, self.std))
        return (images.astype(dtype) / dtype.type(255) - mean) / std

    @cached_property
    def _apply(self) -> Callable[[Any, Any], Array]:
        def apply(variables: Any, images: Array) -> Array:
            logits: Any = self.model.apply(variables, self._normalize(images))
            # The mean in float32 at least, for networks that compute in bfloat16.
            wide: Array = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
            return wide.mean(axis=1)

        # As train.evaluate compiles, so that both round alike.
        return jax.jit(apply, compiler_options=compiler_options("evaluate"))
