"""Layers in NumPy, written for reading: what whole networks are compared with in float64."""

import numpy as np


def conv(x, layer, stride=1):
    """Each output position is a sum over the kernel's positions of the padded input."""
    kernel = np.asarray(layer["kernel"])
    size = len(kernel)
    around = (size // 2, size // 2)
    x = np.pad(x, ((0, 0), (0, 0), around, around, (0, 0)))
    rows, columns = ((n - size) // stride + 1 for n in x.shape[2:4])
    return sum(
        x[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride] @ kernel[i, j]
        for i in range(size)
        for j in range(size)
    )


def norm(x, layer):
    """Zero mean and unit variance of every channel over batch, time and space; scale and shift."""
    over = (0, 1, 2, 3)
    x = (x - x.mean(over)) / np.sqrt(x.var(over) + 1e-5)
    return x * np.asarray(layer["scale"]) + np.asarray(layer["bias"])


def conv_norm(x, conv_layer, norm_layer, stride=1):
    return norm(conv(x, conv_layer, stride), norm_layer)


def fire(current, levels=4):
    """I-LIF with decay 1/2: integers 0 .. levels, which leave the membrane."""
    v, out = 0.0, []
    for step in range(current.shape[1]):
        u = v / 2 + current[:, step]
        count = np.clip(np.floor(u + 0.5), 0, levels)
        v = u - count
        out.append(count)
    return np.stack(out, axis=1)


def max_pool(x):
    """Over 3x3 with stride 2 and one position of padding."""
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    n = x.shape[2] - 2
    return np.max([x[:, :, i : i + n : 2, j : j + n : 2] for i in range(3) for j in range(3)], 0)


def avg_pool(x):
    """Over 2x2 with stride 2."""
    return np.mean([x[:, :, i::2, j::2] for i in range(2) for j in range(2)], axis=0)


def dense(x, layer):
    return x @ np.asarray(layer["kernel"]) + np.asarray(layer.get("bias", 0))


def mean_dense(x, layer):
    return dense(x.mean(axis=(2, 3)), layer)
