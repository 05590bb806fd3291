"""What a tape can say: one record for each thing to do, and how compiled code reads and writes."""

from typing import no_type_check

import numpy as np

from pit_jax.inference.event_driven.jit import compiled

SAMPLE, START, CLEAR, SCALE, ROUND, LIST, CONV, POOL = range(8)
SUM, CELLS, FIRE, PRODUCT, ATTEND = range(8, 13)

FIELDS = (
    # What to do, from which values to which; offsets into the memory, `size` of one sample.
    *("op", "source", "second", "third", "to", "size"),
    # Numbers: where, the distance from those of one step to the next, and how many are used.
    *("weight", "copies", "period"),
    # Of weights: whether they are int16, and whether each channel has its own.
    *("short", "depthwise"),
    # The spikes of a source: where they are listed, and by which instruction.
    *("listed", "events"),
    # `adds` to what is there; a right shift, rounded; the largest pixel; the maximum, not the sum.
    *("adds", "shift", "bound", "largest", "silent"),
    *("height", "width", "channels", "out_height", "out_width", "features"),
    *("kh", "kw", "down", "right", "top", "left", "groups"),
    # Of a neuron: where its state lies, and its rule; CLIF is `slowed`, PITFull `carries`.
    *("membrane", "slow", "levels", "guard", "signed"),
    *("slowed", "slow_shift", "carries", "carry", "carry_shift"),
)
INSTRUCTION = np.dtype([(name, np.int64) for name in FIELDS])


@compiled
@no_type_check
def values(offset, size, memory, batch):
    """`size` values of each sample, as they lie in the memory."""
    return memory[offset * batch : (offset + size) * batch]


@compiled
@no_type_check
def images(offset, height, width, channels, memory, batch):
    """Values as [B, H, W, C]."""
    size = height * width * channels
    return values(offset, size, memory, batch).reshape(batch, height, width, channels)
