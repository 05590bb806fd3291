"""Pools and sums over space, of counts and of currents."""

from typing import no_type_check

from pit_jax.inference.event_driven.instructions import images, values
from pit_jax.inference.event_driven.jit import compiled


@compiled
@no_type_check
def pool(one, memory, batch):
    given = images(one.source, one.height, one.width, one.channels, memory, batch)
    to = images(one.to, one.out_height, one.out_width, one.channels, memory, batch)
    for b in range(batch):
        for oy in range(one.out_height):
            y0 = oy * one.down - one.top
            for ox in range(one.out_width):
                x0 = ox * one.right - one.left
                to[b, oy, ox] = -(2**31) if one.largest else 0
                for y in range(max(y0, 0), min(y0 + one.kh, one.height)):
                    for x in range(max(x0, 0), min(x0 + one.kw, one.width)):
                        for c in range(one.channels):
                            if one.largest:
                                to[b, oy, ox, c] = max(to[b, oy, ox, c], given[b, y, x, c])
                            else:
                                to[b, oy, ox, c] += given[b, y, x, c]


@compiled
@no_type_check
def summed(one, memory, batch):
    """Over one axis: [B * height, width, channels] to [B * height, channels]."""
    given = memory[one.source * batch :][: batch * one.height * one.width * one.channels]
    given = given.reshape(batch * one.height, one.width, one.channels)
    to = values(one.to, one.size, memory, batch).reshape(batch * one.height, one.channels)
    for i in range(len(to)):
        to[i] = 0
        for n in range(one.width):
            for c in range(one.channels):
                to[i, c] += given[i, n, c]


@compiled
@no_type_check
def cells(one, memory, batch):
    """The sums over out_height x out_width cells, which may overlap."""
    given = images(one.source, one.height, one.width, one.channels, memory, batch)
    to = images(one.to, one.out_height, one.out_width, one.channels, memory, batch)
    rows, columns = one.out_height, one.out_width
    for b in range(batch):
        for oy in range(rows):
            for ox in range(columns):
                to[b, oy, ox] = 0
                for y in range(oy * one.height // rows, -(-(oy + 1) * one.height // rows)):
                    for x in range(ox * one.width // columns, -(-(ox + 1) * one.width // columns)):
                        for c in range(one.channels):
                            to[b, oy, ox, c] += given[b, y, x, c]
