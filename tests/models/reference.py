"""Layers in NumPy, with which whole networks are compared in float64."""

from functools import partial

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.helpers import count_thresholds, jit_once
from tests.models.helpers import get_shapes


def random_variables(model, x_shape):
    """Return random float64 parameters and statistics, without compiling the network's `init`."""
    random = np.random.default_rng(0)
    _, variables = get_shapes(model, x_shape)
    drawn = {}
    learned = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    for path, leaf in flatten_dict(learned).items():
        positive = path[-1] in ("scale", "var", "a")
        values = random.uniform(0.5, 2, leaf.shape) if positive else random.normal(size=leaf.shape)
        # Currents of about 2 for binary inputs, so that neurons fire all their integers.
        gain = 2 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 1
        drawn[path] = gain * values
    return unflatten_dict(drawn)


def run_training_mode(model, image):
    """Return logits in training mode, and the random parameters."""
    variables = random_variables(model, image.shape)
    apply = jit_once(partial(model.apply, train=True, mutable=["batch_stats"]))
    return apply(variables, image)[0], variables["params"]


def windows(x, size, stride, fill=0.0):
    """Return the inputs at each position of a `size` x `size` window, padded with `fill`."""
    height, width = x.shape[-3:-1]
    around = (size // 2, size // 2)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [around, around, (0, 0)], constant_values=fill)
    return [
        padded[..., i : i + height : stride, j : j + width : stride, :]
        for i, j in np.ndindex(size, size)
    ]


def conv(x, layer, stride=1):
    """Sum a product for each position of the window; a kernel of depth 1 is depthwise."""
    kernel = np.asarray(layer["kernel"])
    weights = kernel.reshape(-1, *kernel.shape[2:])
    alone = kernel.shape[2] == 1 and x.shape[-1] == kernel.shape[3]
    products = (
        seen * w[0] if alone else seen @ w
        for seen, w in zip(windows(x, len(kernel), stride), weights, strict=True)
    )
    return sum(products) + np.asarray(layer.get("bias", 0))


def dense(x, layer):
    """Apply a linear layer."""
    return x @ np.asarray(layer["kernel"]) + np.asarray(layer.get("bias", 0))


def mean_dense(x, layer):
    """Apply a linear layer to the mean over space."""
    return dense(x.mean(axis=(2, 3)), layer)


def norm(x, layer, stats=None, epsilon=1e-5):
    """Normalize with the running `stats`, or with those of the batch, then scale and shift."""
    over = tuple(range(x.ndim - 1))
    stats = stats or {"mean": x.mean(over), "var": x.var(over)}
    x = (x - stats["mean"]) / np.sqrt(stats["var"] + epsilon)
    return x * np.asarray(layer["scale"]) + np.asarray(layer["bias"])


def conv_norm(x, conv_layer, norm_layer, stride=1):
    return norm(conv(x, conv_layer, stride), norm_layer)


def fire(current, levels=4, unit=1.0):
    """Apply I-LIF with decay 1/2, whose integers 0 .. levels are multiplied by `unit`."""
    v, spikes = np.zeros_like(current[:, 0]), []
    for step in range(current.shape[1]):
        u = v / 2 + current[:, step]
        spikes.append(count_thresholds(u, levels))
        v = u - spikes[-1]
    return np.stack(spikes, axis=1) * unit


def max_pool(x):
    """Take the maximum over 3 x 3 with stride 2 and padding 1."""
    return np.max(windows(x, 3, 2, -np.inf), axis=0)


def pool2x2(x, reduce=np.mean):
    """Apply `reduce` to each 2 x 2 cell; an odd last row or column is dropped."""
    height, width = (n // 2 * 2 for n in x.shape[-3:-1])
    corners = [x[..., i:height:2, j:width:2, :] for i in (0, 1) for j in (0, 1)]
    return reduce(corners, axis=0)


def flatten(x):
    """Merge space and channels."""
    return x.reshape(*x.shape[:2], -1)


def repeat_steps(x, num_steps):
    """Repeat `x` `[B, 1 or T, ...]` to `num_steps` steps."""
    return np.repeat(x, num_steps // x.shape[1], axis=1)


class Network:
    """Access to the layers in `variables` by path."""

    def __init__(self, variables, *path):
        self.variables, self.path = variables, path

    def __getitem__(self, name):
        return Network(self.variables, *self.path, name)

    def get(self, collection, name):
        """Return the leaves of the layer `name` in `collection`."""
        node = self.variables[collection]
        for step in (*self.path, name):
            node = node[step]
        return node

    def layer(self, x, name, norm_name=None, stride=1, epsilon=1e-5):
        """Apply the convolution `name` and its norm in evaluation mode."""
        norm_name = norm_name or f"{name}_norm"
        x = conv(x, self.get("params", name), stride)
        return norm(x, self.get("params", norm_name), self.get("batch_stats", norm_name), epsilon)

    def linear(self, x, name):
        """Apply the linear layer `name`."""
        return dense(x, self.get("params", name))


def plain_layer(x, number, variables, levels, num_steps, stride=1, epsilon=1e-5):
    """Apply conv, norm and I-LIF of the layer `number`; `x` has 1 or `num_steps` steps."""
    network = Network(variables)
    current = network.layer(x, f"conv{number}", f"norm{number}", stride, epsilon)
    return fire(repeat_steps(current, num_steps), levels)
