"""Layers in NumPy, written for reading: what whole networks are compared with in float64."""

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.helpers import count_thresholds
from tests.models.helpers import shapes


def random_variables(model, x_shape):
    """Parameters and statistics without a start's regularities, in float64."""
    random = np.random.default_rng(0)
    _, variables = shapes(model, x_shape)
    drawn = {}
    for path, leaf in flatten_dict({k: variables[k] for k in ("params", "batch_stats")}).items():
        positive = path[-1] in ("scale", "var")
        values = random.uniform(0.5, 2, leaf.shape) if positive else random.normal(size=leaf.shape)
        # Currents of about 2 for binary inputs, so that neurons give all their integers.
        gain = 2 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1] == "kernel" else 1
        drawn[path] = gain * values
    return unflatten_dict(drawn)


def windows(x, size, stride, fill=0.0):
    """What stands at each place of a `size` x `size` window, row by row; `fill` stands around."""
    height, width = x.shape[-3:-1]
    around = (size // 2, size // 2)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [around, around, (0, 0)], constant_values=fill)
    return [
        padded[..., i : i + height : stride, j : j + width : stride, :]
        for i, j in np.ndindex(size, size)
    ]


def conv(x, layer, stride=1):
    """One product for each place of the window; a kernel that is one deep stays in its channel."""
    kernel = np.asarray(layer["kernel"])
    weights = kernel.reshape(-1, *kernel.shape[2:])
    alone = kernel.shape[2] == 1 and x.shape[-1] == kernel.shape[3]
    products = (
        seen * w[0] if alone else seen @ w
        for seen, w in zip(windows(x, len(kernel), stride), weights, strict=True)
    )
    return sum(products) + np.asarray(layer.get("bias", 0))


def dense(x, layer):
    return x @ np.asarray(layer["kernel"]) + np.asarray(layer.get("bias", 0))


def mean_dense(x, layer):
    return dense(x.mean(axis=(2, 3)), layer)


def norm(x, layer, stats=None, epsilon=1e-5):
    """Scale and shift after the running `stats`, or after those of batch, time and space."""
    over = tuple(range(x.ndim - 1))
    stats = stats or {"mean": x.mean(over), "var": x.var(over)}
    x = (x - stats["mean"]) / np.sqrt(stats["var"] + epsilon)
    return x * np.asarray(layer["scale"]) + np.asarray(layer["bias"])


def conv_norm(x, conv_layer, norm_layer, stride=1):
    return norm(conv(x, conv_layer, stride), norm_layer)


def fire(current, levels=4, unit=1.0):
    """I-LIF with decay 1/2: integers 0 .. levels leave the membrane, and the layer times `unit`."""
    v, spikes = np.zeros_like(current[:, 0]), []
    for step in range(current.shape[1]):
        u = v / 2 + current[:, step]
        spikes.append(count_thresholds(u, levels))
        v = u - spikes[-1]
    return np.stack(spikes, axis=1) * unit


def max_pool(x):
    """Over 3 x 3 with stride 2 and one position of padding."""
    return np.max(windows(x, 3, 2, -np.inf), axis=0)


def pool2x2(x, reduce=np.mean):
    """`reduce` over the four corners of each 2 x 2 cell; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in x.shape[-3:-1])
    corners = [x[..., i:height:2, j:width:2, :] for i in (0, 1) for j in (0, 1)]
    return reduce(corners, axis=0)


def flat(x):
    return x.reshape(*x.shape[:2], -1)


def repeated(x, num_steps):
    """One step of `x` serves all `num_steps`."""
    return np.repeat(x, num_steps // x.shape[1], axis=1)


class Network:
    """Layers by their path in `variables`."""

    def __init__(self, variables, *path):
        self.variables, self.path = variables, path

    def __getitem__(self, name):
        return Network(self.variables, *self.path, name)

    def at(self, collection, name):
        node = self.variables[collection]
        for step in (*self.path, name):
            node = node[step]
        return node

    def layer(self, x, name, norm_name=None, stride=1, epsilon=1e-5):
        """The convolution `name` and its norm, in evaluation."""
        norm_name = norm_name or f"{name}_norm"
        x = conv(x, self.at("params", name), stride)
        return norm(x, self.at("params", norm_name), self.at("batch_stats", norm_name), epsilon)

    def linear(self, x, name):
        return dense(x, self.at("params", name))


def plain_layer(x, number, variables, levels, num_steps, stride=1, epsilon=1e-5):
    """conv, norm and I-LIF of the layer `number`; one step of `x` serves all `num_steps`."""
    network = Network(variables)
    current = network.layer(x, f"conv{number}", f"norm{number}", stride, epsilon)
    return fire(repeated(current, num_steps), levels)
