"""A user's own parts of every kind, which tests copy to the current folder."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pit_jax.neurons.probe import record
from pit_jax.surrogate import clipped_round


def stripes(count: int = 96, *, size: int = 8):
    """Return images with horizontal or vertical stripes.

    Args:
        count: the number of training images.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(count + 32) % 2
    lines = rng.integers(2, size=(count + 32, size, 1)) * 200
    images = np.broadcast_to(lines, (count + 32, size, size)).copy()
    images[labels == 1] = images[labels == 1].swapaxes(1, 2)
    images = (images + rng.integers(50, size=images.shape)).astype("uint8")
    return {
        "train": (images[:count], labels[:count]),
        "test": (images[count:], labels[count:]),
        "classes": ("horizontal", "vertical"),
    }


class Leaky(nn.Module):
    """Leaky ReLU with a learned slope, which records nothing.

    Args:
        slope: the initial slope.
        shape: a function of the current.
    """

    slope: float = 0.25
    shape: Callable = jnp.tanh

    @nn.compact
    def __call__(self, current):
        a = self.param("a", nn.initializers.constant(self.slope), ())
        return self.shape(jnp.where(current > 0, current, a * current))


class Network(nn.Module):
    """A network with one convolution, whose head is a list of arrays.

    Args:
        width: the number of channels.
        sizes: height and width of the kernel.
    """

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    width: int = 4
    sizes: tuple[int, ...] = (3, 3)

    @nn.compact
    def __call__(self, x, train=False):
        batches = self.variable("batch_stats", "batches", lambda: jnp.zeros((), jnp.int32))
        if train:
            batches.value = batches.value + 1
        x = nn.Conv(self.width, self.sizes)(x[:, None])
        x = jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:]))
        x = self.neuron()(x)
        x = x.reshape(*x.shape[:2], -1)

        def start(key):
            kernel = nn.initializers.lecun_normal()(key, (x.shape[-1], self.num_classes))
            return [kernel, jnp.zeros(self.num_classes)]

        kernel, bias = self.param("head", start)
        return x @ kernel + bias


class Foldable(Network):
    """The same network with a dense head, which the compiler knows."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(self.width, self.sizes)(x[:, None])
        x = jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:]))
        x = self.neuron()(x)
        return nn.Dense(self.num_classes)(x.reshape(*x.shape[:2], -1))


class Mixed(nn.Module):
    """A network with two kinds of neurons; the second kind sees the mean of all steps."""

    num_classes: int
    neuron: Callable[[], nn.Module]
    num_steps: int = 1
    last_neuron: Callable[[], nn.Module] | None = None

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(4, (3, 3))(x[:, None])
        x = self.neuron()(jnp.broadcast_to(x, (len(x), self.num_steps, *x.shape[2:])))
        x = nn.Dense(6)(x.reshape(*x.shape[:2], -1).mean(axis=1, keepdims=True))
        return nn.Dense(self.num_classes)((self.last_neuron or self.neuron)()(x))


class Pair(nn.Module):
    """A neuron that fires 0, 1 or 2, and records it."""

    @nn.compact
    def __call__(self, current):
        count = clipped_round(current, 2)
        record(self, current, count, levels=2)
        return count


def loss(logits, labels, *, temperature: float = 1.0):
    """Return the cross-entropy of scaled logits.

    Args:
        temperature: the divisor of the logits.
    """
    labels = labels if labels.ndim == 2 else jax.nn.one_hot(labels, logits.shape[-1])
    return optax.softmax_cross_entropy(logits.mean(axis=1) / temperature, labels).mean()


def adabelief(schedule, *, b1: float = 0.9):
    """Return AdaBelief.

    Args:
        b1: the decay of the first moment.
    """
    return optax.adabelief(schedule, b1=b1)


def polynomial(peak, steps, *, power: float = 2.0):
    """Return a polynomial decay to 0.

    Args:
        power: the exponent.
    """
    return optax.polynomial_schedule(peak, 0.0, power, steps)


def darken(key, images, *, share: float = 0.2):
    """Darken each image.

    Args:
        share: the largest share by which an image is darkened.
    """
    kept = 1 - share * jax.random.uniform(key, (len(images), 1, 1, 1))
    return (images * kept).astype(images.dtype)


def sharpness(logits, labels):
    """Return the largest probability of a class."""
    return jax.nn.softmax(logits.mean(axis=1)).max(axis=-1).mean()
