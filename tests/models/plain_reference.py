"""Layers written out in NumPy, and values to run them on."""

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.helpers import integers
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


def conv3x3(x, kernel, bias=0.0, stride=1):
    """One product for each of the nine taps, over `x` padded with zeros."""
    height, width = x.shape[-3:-1]
    padded = np.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    taps = [
        padded[..., i : i + height : stride, j : j + width : stride, :] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    ]
    return sum(taps) + bias


def batch_norm(x, params, stats, epsilon=1e-5):
    deviation = np.sqrt(stats["var"] + epsilon)
    return (x - stats["mean"]) / deviation * params["scale"] + params["bias"]


def integer_lif(current, levels, decay=0.5):
    """`ILIF` step by step."""
    v, spikes = np.zeros_like(current[:, 0]), []
    for t in range(current.shape[1]):
        u = decay * v + current[:, t]
        spikes.append(integers(u, levels))
        v = u - spikes[-1]
    return np.stack(spikes, axis=1)


def pool2x2(x, reduce):
    """`reduce` over the four corners of each 2 x 2 cell; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in x.shape[-3:-1])
    corners = [x[..., i:height:2, j:width:2, :] for i in (0, 1) for j in (0, 1)]
    return reduce(corners, axis=0)


def plain_layer(x, number, variables, levels, num_steps, stride=1, epsilon=1e-5):
    """conv, norm and `ILIF` of the layer `number`; one step of `x` serves all `num_steps`."""
    params, stats = variables["params"], variables["batch_stats"]
    current = conv3x3(x, **params[f"conv{number}"], stride=stride)
    current = batch_norm(current, params[f"norm{number}"], stats[f"norm{number}"], epsilon)
    return integer_lif(np.repeat(current, num_steps // x.shape[1], axis=1), levels)


def flat(x):
    return x.reshape(*x.shape[:2], -1)
