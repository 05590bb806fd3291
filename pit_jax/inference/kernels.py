"""Currents on a CPU from spikes alone: each adds its rows of the weights, silence adds nothing.

Exact in integers while every sum fits an int32. A call runs in one thread and lets go of Python's
lock, so threads may share a batch: a layer is too short to hand to threads of its own.
"""

from typing import Any, no_type_check

import numpy as np
from jaxtyping import Int32

try:
    import numba
except ImportError as error:
    raise ImportError(
        "pit_jax.inference.kernels needs numba: pip install 'pit-jax[event-driven]'."
    ) from error

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
    spikes, kernel = np.ascontiguousarray(spikes), np.ascontiguousarray(kernel)
    depthwise = groups > 1 and kernel.shape[2] == 1 and kernel.shape[3] == groups
    add = _add_depthwise if depthwise else _add_rows
    add(spikes, kernel, into, *strides, padding[0][0], padding[1][0], groups)
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


# Below is what numba compiles: at the first call with new dtypes, then kept in __pycache__.
# no_type_check keeps the shape checks of the tests away, which it could not compile.


def _compiled(function: Any) -> Any:
    return numba.njit(nogil=True, cache=True)(function)


@_compiled
@no_type_check
def _list_spikes(image, place, count, first):
    """Spikes of image [H, W, C] as x * C + c and their count; row y from first[y, x] to [y, W]."""
    height, width, channels = image.shape
    found = 0
    for y in range(height):
        for x in range(width):
            first[y, x] = found
            for c in range(channels):
                # Written always and kept if not silent: no branch to mispredict.
                place[found] = x * channels + c
                count[found] = image[y, x, c]
                found += image[y, x, c] != 0
        first[y, width] = found
    return found


@_compiled
@no_type_check
def _add_rows(spikes, kernel, out, down, right, top, left, groups):
    """A row [C_out / groups] of the kernel for each spike in the window of each output pixel."""
    _, height, width, channels = spikes.shape
    kh, kw, wide, features = kernel.shape
    deep = features // groups
    rows = kernel.reshape(kh * kw * wide, features)
    place = np.empty(height * width * wide + 1, np.int32)
    count = np.empty(height * width * wide + 1, spikes.dtype)
    first = np.empty((height, width + 1), np.int32)
    for b in range(len(spikes)):
        for g in range(groups):
            own = slice(g * deep, (g + 1) * deep)
            _list_spikes(spikes[b, :, :, g * wide : (g + 1) * wide], place, count, first)
            for oy in range(out.shape[1]):
                y0 = oy * down - top
                for ox in range(out.shape[2]):
                    x0 = ox * right - left
                    start, stop = max(x0, 0), min(x0 + kw, width)
                    if start >= stop:
                        continue
                    sums = out[b, oy, ox, own]
                    for y in range(max(y0, 0), min(y0 + kh, height)):
                        # The spikes of a row's kw pixels lie side by side, as do their rows.
                        shift = ((y - y0) * kw - x0) * wide
                        begin, end = first[y, start], first[y, stop]
                        # By four, which read and write the sums once.
                        alone = end - (end - begin) % 4
                        for i in range(begin, alone, 4):
                            i1, i2, i3 = i + 1, i + 2, i + 3
                            row, times = rows[place[i] + shift, own], np.int32(count[i])
                            row1, times1 = rows[place[i1] + shift, own], np.int32(count[i1])
                            row2, times2 = rows[place[i2] + shift, own], np.int32(count[i2])
                            row3, times3 = rows[place[i3] + shift, own], np.int32(count[i3])
                            for o in range(deep):
                                two = times * row[o] + times1 * row1[o]
                                sums[o] += two + times2 * row2[o] + times3 * row3[o]
                        for i in range(alone, end):
                            row, times = rows[place[i] + shift, own], np.int32(count[i])
                            for o in range(deep):
                                sums[o] += times * row[o]


@_compiled
@no_type_check
def _add_depthwise(spikes, kernel, out, down, right, top, left, groups):
    """One entry of the kernel for each spike in the window of each output pixel."""
    _, height, width, channels = spikes.shape
    kh, kw = kernel.shape[:2]
    entries = kernel.reshape(kh * kw * channels)
    place = np.empty(height * width * channels + 1, np.int32)
    count = np.empty(height * width * channels + 1, spikes.dtype)
    first = np.empty((height, width + 1), np.int32)
    for b in range(len(spikes)):
        channel = place[: _list_spikes(spikes[b], place, count, first)] % channels
        for oy in range(out.shape[1]):
            y0 = oy * down - top
            for ox in range(out.shape[2]):
                x0 = ox * right - left
                start, stop = max(x0, 0), min(x0 + kw, width)
                if start >= stop:
                    continue
                sums = out[b, oy, ox]
                for y in range(max(y0, 0), min(y0 + kh, height)):
                    shift = ((y - y0) * kw - x0) * channels
                    for i in range(first[y, start], first[y, stop]):
                        sums[channel[i]] += np.int32(count[i]) * entries[place[i] + shift]
