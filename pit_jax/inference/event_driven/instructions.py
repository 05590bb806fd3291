"""The instructions of a tape: one dataclass per opcode, which the assembler writes and the
interpreter reads.

A row of the tape has an entry for every field of any instruction: `ConvOp(..., stride_y=2)` is read
as `op.stride_y` in compiled code. Rows of one record type need no decoding, and their length
(some 400 bytes) does not matter compared with the work of one instruction.

Values are int32 in one memory. `source`, `to` and similar fields are offsets into it for a batch of
one. For a batch of B they are multiplied by B, so one tape fits every batch size.
"""

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import ClassVar, no_type_check

import numpy as np

from pit_jax.inference.event_driven.jit import compile_inner
from pit_jax.old_names import serve_old_names


class Opcode(IntEnum):
    """The kind of an instruction, the first entry of its row."""

    SAMPLE, BIAS, CLEAR, DIAGONAL, ROUND, LIST, CONV, POOL = range(8)
    SUM, CELLS, FIRE, PRODUCT, ATTENTION = range(8, 13)


@dataclass(frozen=True)
class Numbers:
    """The `size` constants of an instruction, which begin at `begin` + t * `stride` at step t.

    The stride is 0 if all steps have the same constants.
    """

    begin: int
    stride: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Op:
    """An instruction; sizes and shapes are for one sample."""

    opcode: ClassVar[Opcode]

    @classmethod
    def list_fields(cls) -> list[str]:
        """Return the names of the entries in a row of the tape."""
        names: list[str] = []
        for field in fields(cls):
            nested = [part.name for part in fields(Numbers)] if field.type is Numbers else []
            names += [f"{field.name}_{part}" for part in nested] or [field.name]
        return names

    def encode(self, row: np.void) -> None:
        """Write the instruction into a row of the tape; entries of other instructions stay 0."""
        row["opcode"] = self.opcode
        for name, value in vars(self).items():
            if isinstance(value, Numbers):
                for part, entry in vars(value).items():
                    row[f"{name}_{part}"] = entry
            else:
                row[name] = value


@dataclass(frozen=True, kw_only=True)
class SampleOp(Op):
    """Write the pixels as integers, clipped at `bound`."""

    opcode = Opcode.SAMPLE
    to: int
    size: int
    bound: int


@dataclass(frozen=True, kw_only=True)
class BiasOp(Op):
    """Set the sums of an accumulator to its bias, one per channel or per value."""

    opcode = Opcode.BIAS
    to: int
    size: int
    numbers: Numbers


@dataclass(frozen=True, kw_only=True)
class ClearOp(Op):
    """Set sums to 0."""

    opcode = Opcode.CLEAR
    to: int
    size: int


@dataclass(frozen=True, kw_only=True)
class DiagonalOp(Op):
    """Add each value times its own weight; the last `shift` bits of products are rounded off."""

    opcode = Opcode.DIAGONAL
    source: int
    to: int
    size: int
    numbers: Numbers
    shift: int


@dataclass(frozen=True, kw_only=True)
class RoundOp(Op):
    """Round off the last `shift` bits of values; write the results, or add them if `adds`."""

    opcode = Opcode.ROUND
    source: int
    to: int
    size: int
    shift: int = 0
    adds: bool = False


@dataclass(frozen=True, kw_only=True)
class ListOp(Op):
    """List the spikes of an image; see `convolution.view_list` for the layout of a list."""

    opcode = Opcode.LIST
    source: int
    spikes: int
    height: int
    width: int
    channels: int
    groups: int


@dataclass(frozen=True, kw_only=True)
class ConvOp(Op):
    """Add a convolution of the list `spikes`, or of all inputs if the list is too long.

    Instruction `lister` writes the list. A linear layer is a 1x1 convolution over a row of tokens.
    """

    opcode = Opcode.CONV
    source: int
    to: int
    spikes: int
    lister: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    features: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_top: int
    pad_left: int
    groups: int
    is_depthwise: bool
    is_int16: bool
    numbers: Numbers


@dataclass(frozen=True, kw_only=True)
class PoolOp(Op):
    """Write the sums over windows, or the maxima if `takes_max`."""

    opcode = Opcode.POOL
    source: int
    to: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    pad_top: int
    pad_left: int
    takes_max: bool


@dataclass(frozen=True, kw_only=True)
class SumOp(Op):
    """Write the sums over the middle axis of `[outer, length, inner]`."""

    opcode = Opcode.SUM
    source: int
    to: int
    outer: int
    length: int
    inner: int


@dataclass(frozen=True, kw_only=True)
class CellsOp(Op):
    """Write the sums over out_height x out_width cells, which may overlap."""

    opcode = Opcode.CELLS
    source: int
    to: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int


@dataclass(frozen=True, kw_only=True)
class FireOp(Op):
    """Fire a `FixedNeuron`, whose `numbers` are its `levels` thresholds and the rows listed below.

    `membrane` and, for CLIF, `slow` are offsets into the state, which is kept between steps.
    `carry` is the offset of PITFull's matrices `[T, C, C]` in the constants.
    """

    opcode = Opcode.FIRE
    source: int
    to: int
    size: int
    channels: int
    membrane: int
    levels: int
    guard: int
    signed: bool
    numbers: Numbers
    has_slow: bool = False
    slow: int = 0
    slow_shift: int = 0
    has_carry: bool = False
    carry: int = 0
    carry_shift: int = 0


# Rows of a neuron's numbers after its thresholds; only CLIF has the last two.
DROP, LEAK, LEAK_FIRED, ONE, SLOWNESS = range(5)


@dataclass(frozen=True, kw_only=True)
class ProductOp(Op):
    """Write the products of spikes; with `silent`, the first times 1 - the second.

    The second has `period` values: one for each value of the first, or one place for all places.
    """

    opcode = Opcode.PRODUCT
    first: int
    second: int
    to: int
    size: int
    period: int
    silent: bool


@dataclass(frozen=True, kw_only=True)
class AttentionOp(Op):
    """Write query (weight keyᵀ value).

    Query and key have `channels`, value and output have `features` in their last axis.
    """

    opcode = Opcode.ATTENTION
    query: int
    key: int
    value: int
    to: int
    size: int
    channels: int
    features: int
    heads: int
    numbers: Numbers


OPS: tuple[type[Op], ...] = (
    *(SampleOp, BiasOp, ClearOp, DiagonalOp, RoundOp, ListOp, ConvOp, PoolOp),
    *(SumOp, CellsOp, FireOp, ProductOp, AttentionOp),
)
# The fields of all instructions, each once.
RECORD = np.dtype(
    [("opcode", np.int64)]
    + [(name, np.int64) for name in dict.fromkeys(n for op in OPS for n in op.list_fields())]
)


def encode(ops: list[Op]) -> np.ndarray:
    """Return instructions as a tape, one record each."""
    tape = np.zeros(len(ops), RECORD)
    for row, op in zip(tape, ops, strict=True):
        op.encode(row)
    return tape


# The tests check the shapes of annotated functions. numba cannot compile such a check, hence
# no_type_check on all compiled functions.


@compile_inner
@no_type_check
def view_values(offset, size, memory, batch):
    """Return `size` values of each sample, one after the other."""
    return memory[offset * batch : (offset + size) * batch]


@compile_inner
@no_type_check
def view_images(offset, height, width, channels, memory, batch):
    """Return values as [B, H, W, C]."""
    size = height * width * channels
    return view_values(offset, size, memory, batch).reshape(batch, height, width, channels)


@compile_inner
@no_type_check
def view_numbers(op, numbers, t):
    """Return the constants of an instruction at step t."""
    begin = op.numbers_begin + t * op.numbers_stride
    return numbers[begin : begin + op.numbers_size]


serve_old_names(__name__)
