"""Currents on a CPU from spikes alone: each adds its rows of the weights, silence adds nothing.

Exact in integers while every sum fits an int32. A call runs in one thread and lets go of Python's
lock, so threads may share a batch: a layer is too short to hand to threads of its own.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Int32

from pit_jax.inference.event_driven.compiled import SOURCES, compiled, kept
from pit_jax.inference.event_driven.lanes import LANES, add_rows, list_lanes

Pair = tuple[int, int]

SPIKES = (np.dtype("int8"), np.dtype("uint8"))
WEIGHTS = (np.dtype("int8"), np.dtype("int16"), np.dtype("int32"))


def dense(
    spikes: np.ndarray, weight: np.ndarray, into: np.ndarray | None = None
) -> Int32[np.ndarray, "B n_out"]:
    """Adds spikes [B, n_in] times weight [n_in, n_out] to `into`, or to zeros, and returns it.

    Raises ValueError for a shape or a dtype that does not fit.
    """
    _check_dtypes(spikes, weight)
    if spikes.ndim != 2 or weight.ndim != 2 or spikes.shape[1] != weight.shape[0]:
        raise ValueError(
            f"dense takes spikes [B, n_in] and weight [n_in, n_out], got {spikes.shape} and "
            f"{weight.shape}."
        )
    into = _accumulators(into, (spikes.shape[0], weight.shape[1]))
    pixels, one_by_one = spikes[:, None, None, :], weight[None, None]
    conv(pixels, one_by_one, into[:, None, None, :])
    return into


def conv(
    spikes: np.ndarray,
    kernel: np.ndarray,
    into: np.ndarray | None = None,
    *,
    strides: Pair = (1, 1),
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0)),
    groups: int = 1,
) -> Int32[np.ndarray, "B H W C_out"]:
    """Adds spikes [B, H, W, C_in] * kernel [kh, kw, C_in / groups, C_out] to `into`, or to zeros.

    `padding` is (top, bottom), (left, right). Raises ValueError for a shape, dtype, stride, padding
    or number of groups that does not fit.
    """
    _check_dtypes(spikes, kernel)
    shape = conv_shape(spikes.shape, kernel.shape, strides, padding, groups)
    into = _accumulators(into, shape)
    # One layout is compiled, for dense and conv alike.
    spikes, kernel = (np.ascontiguousarray(x) for x in (spikes, kernel))
    _conv(spikes, kernel, into, *strides, padding[0][0], padding[1][0], groups)
    return into


def conv_shape(
    spikes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: Pair,
    padding: tuple[Pair, Pair],
    groups: int,
) -> tuple[int, int, int, int]:
    """The shape [B, H', W', C_out] that `conv` adds to; raises ValueError as `conv` does."""
    if len(spikes) != 4 or len(kernel) != 4:
        raise ValueError(
            f"conv takes spikes [B, H, W, C_in] and kernel [kh, kw, C_in / groups, C_out], got "
            f"{spikes} and {kernel}."
        )
    channels = (kernel[2] * groups, kernel[3] % groups) if groups > 0 else None
    if channels != (spikes[3], 0):
        raise ValueError(
            f"{groups} groups must divide C_in and C_out, and the kernel have C_in / groups rows; "
            f"got {spikes[3]} channels of spikes and a kernel {kernel}."
        )
    if min(strides) < 1 or min(*padding[0], *padding[1]) < 0:
        raise ValueError(
            f"strides are 1 or more and paddings 0 or more, got {strides} and {padding}."
        )
    room = [spikes[1 + axis] + sum(padding[axis]) - kernel[axis] for axis in (0, 1)]
    if min(room) < 0 or min(kernel) < 1:
        raise ValueError(
            f"a kernel {kernel} has no place in spikes {spikes} padded by {padding}; it must have "
            "entries and be no larger than they are."
        )
    height, width = (free // stride + 1 for free, stride in zip(room, strides, strict=True))
    return spikes[0], height, width, kernel[3]


def _check_dtypes(spikes: np.ndarray, weight: np.ndarray) -> None:
    for what, array, allowed in (("spikes", spikes, SPIKES), ("weights", weight, WEIGHTS)):
        if array.dtype not in allowed:
            names = " or ".join(str(dtype) for dtype in allowed)
            raise ValueError(f"{what} are {names}, got {array.dtype}; cast what is integer-valued.")


def _accumulators(into: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if into is None:
        return np.zeros(shape, np.int32)
    if into.dtype != np.int32:
        raise ValueError(f"sums are int32, got {into.dtype}.")
    if into.shape != shape or not (into.flags.c_contiguous and into.flags.writeable):
        raise ValueError(
            f"sums go into a contiguous, writeable array {shape}, got {into.shape} with strides "
            f"{into.strides}{'' if into.flags.writeable else ', read only'}."
        )
    return into


# Below is what numba compiles. no_type_check keeps the shape checks of the tests away, which it
# could not compile.


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
                shift = ((y - y0) * kw - x0) * channels
                for i in range(first[0, y, start], first[0, y, stop]):
                    sums[place[i] % channels] += count[i] * entries[place[i] + shift]


@compiled
@no_type_check
def _add_all(spikes, kernel, out, down, right, top, left, groups):
    batch, height, width, channels = spikes.shape
    kh, kw, wide, features = kernel.shape
    depthwise = groups > 1 and wide == 1 and features == groups
    apart = 1 if depthwise else groups
    size = height * width * channels
    place, count = np.empty(size + LANES, np.int32), np.empty(size + LANES, np.int32)
    first = np.empty((apart, height, width + 1), np.int32)
    rows = kernel.reshape(kernel.size)
    for b in range(batch):
        image = spikes[b].reshape(size).astype(np.int32)
        list_spikes(image, height, width, channels, apart, place, count, first)
        if depthwise:
            add_depthwise(place, count, first, rows, out[b], kh, kw, down, right, top, left)
        else:
            add_windows(place, count, first, rows, out[b], kh, kw, wide, down, right, top, left)


@no_type_check
def _entry(sources):
    def conv(spikes, kernel, out, down, right, top, left, groups):
        sources  # noqa: B018
        _add_all(spikes, kernel, out, down, right, top, left, groups)

    return kept(conv)


_conv = _entry(SOURCES)
