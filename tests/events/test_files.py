"""Event files: bytes by hand, round trips, and errors about damaged files."""

import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from pit_jax.events import EVENT, make_events, read_aedat2, read_aedat31, read_atis, write_aedat2

HEADER_2 = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# a line with a # in it\r\n"
HEADER_31 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"


def event_2(*, row, column, bit, t):
    return struct.pack(">II", row << 8 | column << 1 | bit, t)


def packet_31(events, *, kind=1, overflow=0, capacity=None, size=8):
    capacity = len(events) if capacity is None else capacity
    header = struct.pack(
        "<HHIIIIII", kind, 1, size, 4, overflow, capacity, len(events), len(events)
    )
    body = b"".join(struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in events)
    return header + body.ljust(capacity * size, b"\0")


def test_reading_aedat2_flips_axes_and_polarity(tmp_path):
    path = tmp_path / "cifar10_airplane_0.aedat"
    path.write_bytes(
        HEADER_2
        + event_2(row=0, column=0, bit=0, t=5)
        + event_2(row=127, column=3, bit=1, t=5)
        + event_2(row=10, column=127, bit=0, t=2**32 - 1)
    )
    want = make_events([5, 5, 2**32 - 1], [127, 0, 117], [127, 124, 0], [1, 0, 1])
    assert np.array_equal(read_aedat2(path), want)
    assert read_aedat2(path).dtype == EVENT


def test_aedat2_without_events_or_without_a_version_can_be_read(tmp_path):
    path = tmp_path / "old.aedat"
    path.write_bytes(b"# recorded by hand\n" + event_2(row=1, column=2, bit=0, t=3))
    assert read_aedat2(path).tolist() == [(3, 126, 125, 1)]
    path.write_bytes(HEADER_2)
    assert len(read_aedat2(path)) == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1), st.integers(0, 127), st.integers(0, 127), st.integers(0, 1)
        )
    )
)
def test_written_aedat2_is_read_unchanged(tmp_path_factory, rows):
    events = np.array(rows, EVENT)
    path = tmp_path_factory.mktemp("aedat") / "events.aedat"
    write_aedat2(path, events)
    assert np.array_equal(read_aedat2(path), events)


def test_writing_unrepresentable_events_or_over_an_existing_file_is_an_error(tmp_path):
    path = tmp_path / "events.aedat"
    with pytest.raises(ValueError, match="x=128, y=0, outside of a sensor of height=128"):
        write_aedat2(path, make_events([0], [128], [0], [1]))
    for t in (-1, 2**32):
        with pytest.raises(ValueError, match="times from 0 to"):
            write_aedat2(path, make_events([t], [0], [0], [1]))
    assert not path.exists()
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_aedat2(path, make_events([0], [0], [0], [1]))
    assert path.read_bytes() == b"mine"


def test_reading_aedat31_returns_every_polarity_packet_and_skips_the_others(tmp_path):
    path = tmp_path / "user01_led.aedat"
    path.write_bytes(
        HEADER_31
        + packet_31([(7, 0, 1, 1), (9, 127, 126, 0)])
        + packet_31([(1, 2, 3, 1)], kind=0)
        + packet_31([(4, 5, 6, 1)], capacity=3)
        + packet_31([(1, 2, 3, 0)], overflow=1)
    )
    assert read_aedat31(path).tolist() == [
        (7, 0, 1, 1),
        (9, 127, 126, 0),
        (4, 5, 6, 1),
        (2**31 + 1, 2, 3, 0),
    ]
    path.write_bytes(HEADER_31)
    assert len(read_aedat31(path)) == 0


def test_an_nmnist_file_has_five_bytes_per_event(tmp_path):
    path = tmp_path / "00002.bin"
    path.write_bytes(bytes([10, 33, 0x80, 0x00, 0x02]) + bytes([0, 1, 0x7F, 0xFF, 0xFF]))
    assert read_atis(path).tolist() == [(2, 10, 33, 1), (2**23 - 1, 0, 1, 0)]


def test_an_overflow_event_adds_8192_microseconds_to_all_later_events(tmp_path):
    # As in event-Python and in tonic: no pixel has y = 240.
    path = tmp_path / "image_0001.bin"
    first, overflow = "01 02 00 1f ff", "00 f0 00 00 00"
    second, third = "03 04 00 00 05", "05 06 80 00 07"
    path.write_bytes(bytes.fromhex(first + overflow + second + overflow * 2 + third))
    assert read_atis(path).tolist() == [(8191, 1, 2, 0), (8197, 3, 4, 0), (24583, 5, 6, 1)]


END_2, END_31 = len(HEADER_2), len(HEADER_31)


@pytest.mark.parametrize(
    "read, content, message",
    [
        (
            read_aedat2,
            HEADER_2 + b"\0" * 13,
            f"of 8 bytes that starts at byte {END_2 + 8}:",
        ),
        (read_aedat2, b"#!AER-DAT2.0", "a line of the header that starts at byte 0"),
        (
            read_aedat2,
            HEADER_31,
            "is not an AEDAT 2.0 file: .*AER-DAT3.1'; use read_aedat31. It is AEDAT 3.1",
        ),
        (read_aedat2, b"", "is not an AEDAT 2.0 file: it starts with b''"),
        (read_aedat2, b"PK\3\4", "is not an AEDAT 2.0 file: it starts with b'PK"),
        (read_aedat31, HEADER_2, "is not an AEDAT 3.1 file: .*AER-DAT2.0'; use read_aedat2"),
        (
            read_aedat31,
            HEADER_31 + b"\1",
            f"header that starts at byte {END_31}:",
        ),
        (read_aedat31, HEADER_31 + packet_31([(1, 2, 3, 0)])[:-1], "a packet of 8 bytes"),
        (read_aedat31, HEADER_31 + packet_31([], capacity=1, size=16), "events of 16 bytes"),
        (read_atis, b"\0" * 7, "an event of 5 bytes that starts at byte 5"),
    ],
)
def test_a_damaged_or_foreign_file_is_an_error_with_its_name_and_the_position(
    tmp_path, read, content, message
):
    path = tmp_path / "broken.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert "broken.bin" in str(error.value)
    assert path.read_bytes() == content
