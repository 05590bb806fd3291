"""A tape has one record per instruction, whose entries are the fields of its dataclass."""

from dataclasses import fields

import numba
import numpy as np
import pytest

from pit_jax.inference.event_driven.instructions import (
    OPS,
    RECORD,
    Numbers,
    Opcode,
    encode,
    view_numbers,
)


def test_every_opcode_belongs_to_one_instruction():
    assert [kind.opcode for kind in OPS] == list(Opcode)


@pytest.mark.parametrize("kind", OPS)
def test_a_record_has_the_fields_of_its_instruction_and_zeros(kind):
    values = {f.name: True if f.type is bool else i for i, f in enumerate(fields(kind), 2)}
    expected = dict.fromkeys(RECORD.names, 0) | values | {"opcode": kind.opcode}
    if "numbers" in values:
        values["numbers"] = Numbers(begin=10, stride=20, size=30)
        expected |= {"numbers_begin": 10, "numbers_stride": 20, "numbers_size": 30}
        del expected["numbers"]
    (row,) = encode([kind(**values)])
    assert dict(zip(RECORD.names, row.tolist(), strict=True)) == expected


def test_compiled_code_reads_the_numbers_of_a_step():
    (kind,) = (kind for kind in OPS if kind.opcode == Opcode.BIAS)
    tape = encode([kind(to=0, size=6, numbers=Numbers(begin=1, stride=3, size=2))])
    read = numba.njit(lambda tape, numbers, t: view_numbers(tape[0], numbers, t))
    numbers = np.arange(9, dtype=np.int32)
    assert read(tape, numbers, 0).tolist() == [1, 2]
    assert read(tape, numbers, 2).tolist() == [7, 8]
