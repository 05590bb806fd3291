"""Currents of convolutions and linear layers: by the spikes alone, or by all there is."""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.compiled import compiled
from pit_jax.inference.event_driven.instructions import images
from pit_jax.inference.event_driven.kernels import add_depthwise, add_windows, list_spikes

# So many output pixels of a batch are multiplied at once.
ROWS = 512


@compiled
@no_type_check
def lists(one, b, memory, batch):
    """Where the spikes of one sample are listed: places, counts, and where those of a row begin."""
    size = one.height * one.width * one.channels
    rows = one.groups * one.height * (one.width + 1)
    own = memory[one.listed * batch + b * (2 * size + rows) :][: 2 * size + rows]
    first = own[2 * size :].reshape(one.groups, one.height, one.width + 1)
    return own[:size], own[size : 2 * size], first


@compiled
@no_type_check
def listed(one, memory, batch):
    """Lists the spikes of a batch, and returns how many there are."""
    given = images(one.source, one.height, one.width, one.channels, memory, batch)
    found = 0
    for b in range(batch):
        place, count, first = lists(one, b, memory, batch)
        found += list_spikes(given[b], one.groups, place, count, first)
    return found


@compiled
@no_type_check
def dense(one, memory, numbers, floats, scratch, t, batch):
    """Adds the currents of all values, spikes or not."""
    given = images(one.source, one.height, one.width, one.channels, memory, batch)
    sums = images(one.to, one.out_height, one.out_width, one.features, memory, batch)
    if one.depthwise:
        kernel = numbers[one.weight + t * one.copies :][: one.period]
        kernel = kernel.reshape(one.kh, one.kw, one.channels)
        for b in range(batch):
            _slide(one, given[b], kernel, sums[b])
    else:
        _multiply(one, given, floats[one.floats + t * one.copies :][: one.period], sums, scratch)


@compiled
@no_type_check
def by_spikes(one, memory, numbers, shorts, t, batch):
    """Adds the currents of the spikes that are listed."""
    sums = images(one.to, one.out_height, one.out_width, one.features, memory, batch)
    at = one.weight + t * one.copies
    for b in range(batch):
        place, count, first = lists(one, b, memory, batch)
        if one.depthwise:
            add_depthwise(
                place, count, first, numbers[at : at + one.period], sums[b],
                one.kh, one.kw, one.down, one.right, one.top, one.left,
            )  # fmt: skip
        elif one.short:
            add_windows(
                place, count, first, shorts[at : at + one.period], sums[b], one.kh, one.kw,
                one.channels // one.groups, one.down, one.right, one.top, one.left,
            )  # fmt: skip
        else:
            add_windows(
                place, count, first, numbers[at : at + one.period], sums[b], one.kh, one.kw,
                one.channels // one.groups, one.down, one.right, one.top, one.left,
            )  # fmt: skip


@compiled
@no_type_check
def _multiply(one, given, weights, sums, scratch):
    """A product of matrices in float32, which has every sum of it exactly, in any order."""
    wide, deep = one.channels // one.groups, one.features // one.groups
    inputs, outputs = one.kh * one.kw * wide, one.out_height * one.out_width
    some = max(1, ROWS // outputs)
    for g in range(one.groups):
        weight = weights[g * inputs * deep :][: inputs * deep].reshape(inputs, deep)
        for begin in range(0, len(given), some):
            samples = min(some, len(given) - begin)
            rows = samples * outputs
            columns = scratch[: rows * inputs].reshape(rows, inputs)
            products = scratch[rows * inputs :][: rows * deep].reshape(rows, deep)
            for s in range(samples):
                _columns(one, given[begin + s], g * wide, columns[s * outputs :])
            np.dot(columns, weight, products)
            for s in range(samples):
                into = sums[begin + s].reshape(outputs, one.features)
                for row in range(outputs):
                    for o in range(deep):
                        into[row, g * deep + o] += np.int32(products[s * outputs + row, o])


@compiled
@no_type_check
def _columns(one, image, channel, columns):
    """The window of each output pixel as a row, of the channels from `channel` on."""
    wide = one.channels // one.groups
    for oy in range(one.out_height):
        for ox in range(one.out_width):
            row = columns[oy * one.out_width + ox]
            at = 0
            for y in range(oy * one.down - one.top, oy * one.down - one.top + one.kh):
                for x in range(ox * one.right - one.left, ox * one.right - one.left + one.kw):
                    if 0 <= y < one.height and 0 <= x < one.width:
                        for c in range(wide):
                            row[at + c] = image[y, x, channel + c]
                    else:
                        for c in range(wide):
                            row[at + c] = 0
                    at += wide


@compiled
@no_type_check
def _slide(one, image, kernel, sums):
    """A depthwise convolution of one sample."""
    for oy in range(one.out_height):
        y0 = oy * one.down - one.top
        for ox in range(one.out_width):
            x0 = ox * one.right - one.left
            for y in range(max(y0, 0), min(y0 + one.kh, one.height)):
                for x in range(max(x0, 0), min(x0 + one.kw, one.width)):
                    row, given, into = kernel[y - y0, x - x0], image[y, x], sums[oy, ox]
                    for c in range(one.channels):
                        into[c] += np.int32(given[c] * row[c])
