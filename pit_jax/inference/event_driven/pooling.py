"""Pool counts and currents, and sum them over space."""

from typing import no_type_check

from pit_jax.inference.event_driven.instructions import view_images, view_values
from pit_jax.inference.event_driven.jit import compile_inner
from pit_jax.old_names import serve_old_names


@compile_inner
@no_type_check
def pool(op, memory, batch):
    """Write the sums over windows, or the maxima if `takes_max`; padding is ignored."""
    # Only places inside the image are visited: padding is 0 in a sum and -2^31 in a maximum.
    images = view_images(op.source, op.height, op.width, op.channels, memory, batch)
    to = view_images(op.to, op.out_height, op.out_width, op.channels, memory, batch)
    for b in range(batch):
        for oy in range(op.out_height):
            y0 = oy * op.stride_y - op.pad_top
            for ox in range(op.out_width):
                x0 = ox * op.stride_x - op.pad_left
                to[b, oy, ox] = -(2**31) if op.takes_max else 0
                for y in range(max(y0, 0), min(y0 + op.kernel_height, op.height)):
                    for x in range(max(x0, 0), min(x0 + op.kernel_width, op.width)):
                        for c in range(op.channels):
                            if op.takes_max:
                                to[b, oy, ox, c] = max(to[b, oy, ox, c], images[b, y, x, c])
                            else:
                                to[b, oy, ox, c] += images[b, y, x, c]


@compile_inner
@no_type_check
def sum_axis(op, memory, batch):
    """Write the sums over the middle axis of `[B * outer, length, inner]`."""
    values = view_values(op.source, op.outer * op.length * op.inner, memory, batch)
    values = values.reshape(batch * op.outer, op.length, op.inner)
    to = view_values(op.to, op.outer * op.inner, memory, batch)
    to = to.reshape(batch * op.outer, op.inner)
    for i in range(len(to)):
        to[i] = 0
        for n in range(op.length):
            for c in range(op.inner):
                to[i, c] += values[i, n, c]


@compile_inner
@no_type_check
def sum_cells(op, memory, batch):
    """Write the sums over the cells of an adaptive pool, as PyTorch defines them."""
    # Cell i of n covers floor(i size / n) <= y < ceil((i + 1) size / n); -(-x // n) is the ceiling.
    images = view_images(op.source, op.height, op.width, op.channels, memory, batch)
    to = view_images(op.to, op.out_height, op.out_width, op.channels, memory, batch)
    rows, columns = op.out_height, op.out_width
    for b in range(batch):
        for oy in range(rows):
            for ox in range(columns):
                to[b, oy, ox] = 0
                for y in range(oy * op.height // rows, -(-(oy + 1) * op.height // rows)):
                    for x in range(ox * op.width // columns, -(-(ox + 1) * op.width // columns)):
                        for c in range(op.channels):
                            to[b, oy, ox, c] += images[b, y, x, c]


serve_old_names(__name__)
