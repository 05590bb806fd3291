"""Currents of convolutions and linear layers: by the spikes alone, or by all there is."""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.instructions import images
from pit_jax.inference.event_driven.jit import compiled
from pit_jax.inference.event_driven.kernels import add_depthwise, add_windows, list_spikes
from pit_jax.inference.event_driven.simd import LANES, PIXELS, add_all


@compiled
@no_type_check
def lists(one, b, memory, batch):
    """Where the spikes of one sample are listed: places, counts, and where those of a row begin."""
    size = one.height * one.width * one.channels + LANES
    rows = one.groups * one.height * (one.width + 1)
    own = memory[one.listed * batch + b * (2 * size + rows) :][: 2 * size + rows]
    first = own[2 * size :].reshape(one.groups, one.height, one.width + 1)
    return own[:size], own[size : 2 * size], first


@compiled
@no_type_check
def listed(one, memory, batch):
    """Lists the spikes of a batch, and returns how many there are."""
    size = one.height * one.width * one.channels
    found = 0
    for b in range(batch):
        place, count, first = lists(one, b, memory, batch)
        image = memory[one.source * batch + b * size :][:size]
        found += list_spikes(
            image, one.height, one.width, one.channels, one.groups, place, count, first
        )
    return found


@compiled
@no_type_check
def add(one, dense, memory, numbers, shorts, t, batch):
    """Adds the currents of all values, or of the spikes that are listed."""
    at = one.weight + t * one.copies
    if one.short:
        _add(one, dense, memory, shorts[at : at + one.period], batch)
    else:
        _add(one, dense, memory, numbers[at : at + one.period], batch)


@compiled
@no_type_check
def _add(one, dense, memory, rows, batch):
    sums = images(one.to, one.out_height, one.out_width, one.features, memory, batch)
    size = one.height * one.width * one.channels
    for b in range(batch):
        if dense:
            image = memory[one.source * batch + b * size :][:size]
            if one.depthwise:
                _slide(one, image, rows, sums[b])
            else:
                _multiply(one, image, rows, sums[b])
            continue
        place, count, first = lists(one, b, memory, batch)
        if one.depthwise:
            add_depthwise(
                place, count, first, rows, sums[b],
                one.kh, one.kw, one.down, one.right, one.top, one.left,
            )  # fmt: skip
        else:
            add_windows(
                place, count, first, rows, sums[b], one.kh, one.kw,
                one.channels // one.groups, one.down, one.right, one.top, one.left,
            )  # fmt: skip


@compiled
@no_type_check
def _multiply(one, image, rows, sums):
    """The convolution of one sample: at each place of the kernel, for all output pixels of a row
    that it lies inside the image for."""
    wide, deep = one.channels // one.groups, one.features // one.groups
    into = sums.reshape(sums.size)
    stride = one.right * one.channels
    for g in range(one.groups):
        for oy in range(one.out_height):
            for ky in range(one.kh):
                y = oy * one.down - one.top + ky
                if not 0 <= y < one.height:
                    continue
                for kx in range(one.kw):
                    ox, end = _inside(one, kx)
                    row = (ky * one.kw + kx) * wide * one.features + g * deep
                    while ox < end:
                        some = PIXELS if ox + PIXELS <= end else 1
                        x = ox * one.right - one.left + kx
                        add_all(
                            some,
                            into, (oy * one.out_width + ox) * one.features + g * deep, one.features,
                            image, (y * one.width + x) * one.channels + g * wide, stride,
                            rows, row, one.features, wide, deep,
                        )  # fmt: skip
                        ox += some


@compiled
@no_type_check
def _inside(one, kx):
    """From which to which output pixel the kernel's column kx lies inside the image."""
    first = max(0, -((kx - one.left) // one.right))
    return first, min(one.out_width, (one.width - 1 + one.left - kx) // one.right + 1)


@compiled
@no_type_check
def _slide(one, image, entries, sums):
    """A depthwise convolution of one sample."""
    image = image.reshape(one.height, one.width, one.channels)
    kernel = entries.reshape(one.kh, one.kw, one.channels)
    for oy in range(one.out_height):
        y0 = oy * one.down - one.top
        for ox in range(one.out_width):
            x0 = ox * one.right - one.left
            for y in range(max(y0, 0), min(y0 + one.kh, one.height)):
                for x in range(max(x0, 0), min(x0 + one.kw, one.width)):
                    row, given, into = kernel[y - y0, x - x0], image[y, x], sums[oy, ox]
                    for c in range(one.channels):
                        into[c] += np.int32(given[c] * row[c])
