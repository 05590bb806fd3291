"""Currents from spikes alone: each adds its rows of the weights, silence adds nothing."""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.jit import compiled
from pit_jax.inference.event_driven.simd import LANES, add_rows, list_lanes

# no_type_check keeps the shape checks of the tests away, which numba could not compile.


@compiled
@no_type_check
def list_spikes(values, height, width, channels, groups, place, count, first):
    """Lists what is not 0 of an image [H, W, C], group by group and row by row; returns how many.

    A spike of channel c of a group at x is at `place` x * C / groups + c; those of row y of group g
    lie from first[g, y, x] to first[g, y, W]. Lists have `LANES` entries more than can be listed.
    """
    wide = channels // groups
    found = 0
    for g in range(groups):
        for y in range(height):
            for x in range(width):
                first[g, y, x] = found
                at = (y * width + x) * channels + g * wide
                c = 0
                while c + LANES <= wide:
                    found = list_lanes(values, at + c, place, count, found, x * wide + c)
                    c += LANES
                while c < wide:
                    # Written always and kept if not silent: no branch to mispredict.
                    place[found] = x * wide + c
                    count[found] = values[at + c]
                    found += values[at + c] != 0
                    c += 1
            first[g, y, width] = found
    return found


@compiled
@no_type_check
def add_windows(place, count, first, rows, out, kh, kw, wide, down, right, top, left):
    """Adds to out [H', W', C_out] the rows of the kernel [kh, kw, wide, C_out / groups] of every
    spike in the window of each pixel."""
    groups, height, width = first.shape[0], first.shape[1], first.shape[2] - 1
    features = out.shape[2]
    deep = features // groups
    sums = out.reshape(out.size)
    for g in range(groups):
        for oy in range(out.shape[0]):
            y0 = oy * down - top
            for ox in range(out.shape[1]):
                x0 = ox * right - left
                start, stop = max(x0, 0), min(x0 + kw, width)
                if start >= stop:
                    continue
                at = (oy * out.shape[1] + ox) * features + g * deep
                for y in range(max(y0, 0), min(y0 + kh, height)):
                    # The spikes of a row's kw pixels lie side by side, as do their rows.
                    shift = ((y - y0) * kw - x0) * wide
                    begin, end = np.int64(first[g, y, start]), np.int64(first[g, y, stop])
                    add_rows(
                        sums, at, rows, place, features, g * deep, deep, shift, count, begin, end
                    )  # fmt: skip


@compiled
@no_type_check
def add_depthwise(place, count, first, entries, out, kh, kw, down, right, top, left):
    """Adds to out [H', W', C] one entry of the kernel [kh, kw, C] for each spike in a window."""
    height, width, channels = first.shape[1], first.shape[2] - 1, out.shape[2]
    for oy in range(out.shape[0]):
        y0 = oy * down - top
        for ox in range(out.shape[1]):
            x0 = ox * right - left
            start, stop = max(x0, 0), min(x0 + kw, width)
            if start >= stop:
                continue
            sums = out[oy, ox]
            for y in range(max(y0, 0), min(y0 + kh, height)):
                for x in range(start, stop):
                    shift = ((y - y0) * kw - x0) * channels
                    for i in range(first[0, y, x], first[0, y, x + 1]):
                        sums[place[i] - x * channels] += count[i] * entries[place[i] + shift]
