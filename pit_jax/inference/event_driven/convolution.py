"""Add the currents of convolutions and linear layers, from a list of spikes or from all inputs.

Both ways add the same integers, so the choice affects time only (crossover.py). From the list,
each spike adds its rows of the weights and silent inputs cost nothing; from all inputs, a row that
was loaded once is used for several output pixels.
"""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.instructions import view_images, view_numbers
from pit_jax.inference.event_driven.jit import compile_inner
from pit_jax.inference.event_driven.simd import (
    LANES,
    PIXELS,
    accumulate_dense,
    accumulate_spikes,
    list_vector,
)
from pit_jax.old_names import serve_old_names


def compute_list_size(height: int, width: int, channels: int, groups: int) -> int:
    """Return the entries that the list of one sample's spikes needs in memory; see `view_list`."""
    return 2 * (height * width * channels + LANES) + groups * height * (width + 1)


@compile_inner
@no_type_check
def view_list(op, b, memory, batch):
    """Return the list of the spikes of sample b: places, counts, and begins [G, H, W + 1].

    Spikes are listed group by group, row by row and pixel by pixel. A spike of channel c of a group
    at pixel x of a row has the place x * C / G + c, which is the row of the kernel's weights that
    it adds, up to a shift. The spikes of pixel (y, x) of group g are the entries i with
    begins[g, y, x] <= i < begins[g, y, x + 1].
    """
    # Places and counts have LANES entries more than there are inputs, since whole vectors are
    # written (`simd.list_vector`).
    size = op.height * op.width * op.channels + LANES
    begins_size = op.groups * op.height * (op.width + 1)
    own = memory[op.spikes * batch + b * (2 * size + begins_size) :][: 2 * size + begins_size]
    begins = own[2 * size :].reshape(op.groups, op.height, op.width + 1)
    return own[:size], own[size : 2 * size], begins


@compile_inner
@no_type_check
def list_spikes(op, memory, batch):
    """List the spikes of a batch and return their number."""
    size = op.height * op.width * op.channels
    found = 0
    for b in range(batch):
        image = memory[op.source * batch + b * size :][:size]
        found += _list_image(op, image, *view_list(op, b, memory, batch))
    return found


@compile_inner
@no_type_check
def _list_image(op, image, places, counts, begins):
    """List the values of an image [H * W * C] that are not 0, and return their number."""
    width, channels = op.width, op.channels
    deep = channels // op.groups
    found = 0
    for g in range(op.groups):
        for y in range(op.height):
            for x in range(width):
                begins[g, y, x] = found
                at = (y * width + x) * channels + g * deep
                c = 0
                while c + LANES <= deep:
                    found = list_vector(image, at + c, places, counts, found, x * deep + c)
                    c += LANES
                while c < deep:
                    # Always written, and overwritten by the next one if this is silent: no branch
                    # that a CPU could mispredict.
                    places[found] = x * deep + c
                    counts[found] = image[at + c]
                    found += image[at + c] != 0
                    c += 1
            begins[g, y, width] = found
    return found


@compile_inner
@no_type_check
def add_currents(op, dense, memory, numbers, shorts, t, batch):
    """Add the currents of all inputs if `dense`, else of the listed spikes."""
    # Two calls, so that one is compiled for int16 and one for int32 weights.
    if op.is_int16:
        _add_batch(op, dense, memory, view_numbers(op, shorts, t), batch)
    else:
        _add_batch(op, dense, memory, view_numbers(op, numbers, t), batch)


@compile_inner
@no_type_check
def _add_batch(op, dense, memory, weights, batch):
    sums = view_images(op.to, op.out_height, op.out_width, op.features, memory, batch)
    size = op.height * op.width * op.channels
    for b in range(batch):
        if dense:
            image = memory[op.source * batch + b * size :][:size]
            if op.is_depthwise:
                _add_inputs_depthwise(op, image, weights, sums[b])
            else:
                _add_inputs(op, image, weights, sums[b])
        else:
            places, counts, begins = view_list(op, b, memory, batch)
            if op.is_depthwise:
                _add_spikes_depthwise(op, places, counts, begins, weights, sums[b])
            else:
                _add_spikes(op, places, counts, begins, weights, sums[b])


# Add the spikes of one sample, with deep = C / G:
#
#     for each group g and output pixel (oy, ox):
#         y0, x0 = oy * stride_y - pad_top, ox * stride_x - pad_left    its window's corner
#         for each row y of the window inside the image:
#             for each spike i of row y at a pixel x of the window:     adjacent entries of the list
#                 out[oy, ox, features of g] += counts[i] * kernel[y - y0, x - x0, c, features of g]
#
# A spike has the place x * deep + c, and its row of the weights [h * w * deep, F] is
#     ((y - y0) * w + x - x0) * deep + c  =  place + shift,   shift = ((y - y0) * w - x0) * deep,
# so that all spikes in one row of a window share one shift.
@compile_inner
@no_type_check
def _add_spikes(op, places, counts, begins, weights, out):
    """Add to out [H', W', F] the rows of the kernel [h, w, C / G, F] for the spikes in a window."""
    deep, features = op.channels // op.groups, op.features
    out_deep = features // op.groups
    # Local variables, since LLVM would load a field of `op` again after each store to `out`.
    height, width = op.height, op.width
    kernel_height, kernel_width = op.kernel_height, op.kernel_width
    sums = out.reshape(out.size)
    for g in range(op.groups):
        for oy in range(out.shape[0]):
            y0 = oy * op.stride_y - op.pad_top
            for ox in range(out.shape[1]):
                x0 = ox * op.stride_x - op.pad_left
                start, stop = max(x0, 0), min(x0 + kernel_width, width)
                if start >= stop:
                    continue
                to = (oy * out.shape[1] + ox) * features + g * out_deep
                for y in range(max(y0, 0), min(y0 + kernel_height, height)):
                    shift = ((y - y0) * kernel_width - x0) * deep
                    begin, end = np.int64(begins[g, y, start]), np.int64(begins[g, y, stop])
                    accumulate_spikes(
                        sums, to, weights, features, g * out_deep, out_deep,
                        places, counts, shift, begin, end,
                    )  # fmt: skip


@compile_inner
@no_type_check
def _add_spikes_depthwise(op, places, counts, begins, weights, out):
    """Add to out [H', W', C] one entry of the kernel [h, w, C] for each spike in a window."""
    height, width, channels = op.height, op.width, op.channels
    kernel_height, kernel_width = op.kernel_height, op.kernel_width
    for oy in range(out.shape[0]):
        y0 = oy * op.stride_y - op.pad_top
        for ox in range(out.shape[1]):
            x0 = ox * op.stride_x - op.pad_left
            start, stop = max(x0, 0), min(x0 + kernel_width, width)
            if start >= stop:
                continue
            sums = out[oy, ox]
            for y in range(max(y0, 0), min(y0 + kernel_height, height)):
                for x in range(start, stop):
                    shift = ((y - y0) * kernel_width - x0) * channels
                    for i in range(begins[0, y, x], begins[0, y, x + 1]):
                        sums[places[i] - x * channels] += counts[i] * weights[places[i] + shift]


# Add all inputs of one sample:
#
#     for each group g, row oy of outputs, and place (ky, kx) of the kernel:
#         y = oy * stride_y - pad_top + ky                              skip rows outside the image
#         for each run of PIXELS outputs ox (or 1) whose column x is inside the image:
#             for each input channel c of g:
#                 w = kernel[ky, kx, c, features of g]                  one load for the whole run
#                 for each ox of the run, with x = ox * stride_x - pad_left + kx:
#                     out[oy, ox, features of g] += image[y, x, c] * w
@compile_inner
@no_type_check
def _add_inputs(op, image, weights, out):
    """Add the convolution of one sample [H * W * C] to out [H', W', F]."""
    deep, features = op.channels // op.groups, op.features
    out_deep = features // op.groups
    sums = out.reshape(out.size)
    stride = op.stride_x * op.channels
    for g in range(op.groups):
        for oy in range(op.out_height):
            for ky in range(op.kernel_height):
                y = oy * op.stride_y - op.pad_top + ky
                if not 0 <= y < op.height:
                    continue
                for kx in range(op.kernel_width):
                    ox, end = _find_outputs(op, kx)
                    row = (ky * op.kernel_width + kx) * deep * features + g * out_deep
                    while ox < end:
                        pixels = PIXELS if ox + PIXELS <= end else 1
                        x = ox * op.stride_x - op.pad_left + kx
                        accumulate_dense(
                            pixels,
                            sums, (oy * op.out_width + ox) * features + g * out_deep, features,
                            image, (y * op.width + x) * op.channels + g * deep, stride,
                            weights, row, features, deep, out_deep,
                        )  # fmt: skip
                        ox += pixels


@compile_inner
@no_type_check
def _find_outputs(op, kx):
    """Return the range of output pixels for which column kx of the kernel is inside the image."""
    # 0 <= ox * stride - pad + kx <= width - 1, that is
    # ceil((pad - kx) / stride) <= ox <= floor((width - 1 + pad - kx) / stride).
    first = max(0, -((kx - op.pad_left) // op.stride_x))
    return first, min(op.out_width, (op.width - 1 + op.pad_left - kx) // op.stride_x + 1)


@compile_inner
@no_type_check
def _add_inputs_depthwise(op, image, weights, out):
    """Add the depthwise convolution of one sample."""
    image = image.reshape(op.height, op.width, op.channels)
    kernel = weights.reshape(op.kernel_height, op.kernel_width, op.channels)
    for oy in range(op.out_height):
        y0 = oy * op.stride_y - op.pad_top
        for ox in range(op.out_width):
            x0 = ox * op.stride_x - op.pad_left
            for y in range(max(y0, 0), min(y0 + op.kernel_height, op.height)):
                for x in range(max(x0, 0), min(x0 + op.kernel_width, op.width)):
                    # With views of one axis each, LLVM vectorizes the loop.
                    weight, given, sums = kernel[y - y0, x - x0], image[y, x], out[oy, ox]
                    for c in range(op.channels):
                        sums[c] += np.int32(given[c] * weight[c])


serve_old_names(__name__)
