"""Event files of other cameras, versions and formats are refused by name."""

import io
import os
import resource
import signal
import struct
import time

import numpy as np
import pytest

from pit_jax.events import (
    SkippedWords,
    make_events,
    read_aedat2,
    read_aedat31,
    read_atis,
    write_aedat2,
)
from tests.events.test_files import HEADER_2, HEADER_31, event_2, packet_31

EVENTS = b"".join(event_2(row=i % 128, column=i % 100, bit=i % 2, t=i) for i in range(40))
# A DAVIS has the row in bits 22 to 30, the column in 12 to 21 and the polarity in 11.
DAVIS = b"".join(struct.pack(">II", i % 180 << 22 | i % 240 << 12 | 1 << 11, i) for i in range(40))
JAVA = b"# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "line, chip",
    [
        (JAVA, "DAVIS240C"),
        (b"# AEChip: DAVIS240C\r\n", "DAVIS240C"),
        (b"#AEChip: eu.seebetter.ini.chips.davis.Davis346B\r\n", "Davis346B"),
        (b"# AEChip: DAVI346\r\n", "DAVI346"),
        (b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS640\r\n", "DVS640"),
        (b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS1280\r\n", "DVS1280"),
        (b"# AEChip: ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c\r\n", "CochleaAMS1c"),
        (b"# AEChip: Prophesee Gen 3.1 (VGA)\r\n", "Prophesee Gen 3.1 (VGA)"),
        (b"# camera: DVXplorer\r\n", "DVXplorer"),
        (b"# chip=ATIS\r\n", "ATIS"),
        (b"# recorded with a DAVIS-346 in the lab\r\n", "DAVIS-346"),
        (b"# sDVS320 at ETH\n", "sDVS320"),
        (b"# recorded with a Prophesee EVK4\r\n", "Prophesee"),
        (b"# Samsung DVS Gen3, 640 x 480\r\n", "DVS Gen3"),
        (b"# IMX636 in the lab\r\n", "IMX636"),
        (JAVA + b'# <entry key="DVS128.gain" value="1"/>\r\n', "DAVIS240C"),
    ],
)
def test_a_header_that_names_another_chip_is_refused_by_its_name(tmp_path, line, chip):
    path = write(tmp_path / "dance.aedat", HEADER_2 + line + EVENTS)
    with pytest.raises(ValueError, match="dance.aedat is a recording of the camera") as error:
        read_aedat2(path)
    assert f"camera {chip!r}," in str(error.value) and "DVS128" in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        b"# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n",
        b"# AEChip: ch.unizh.ini.caviar.chip.retina.Tmpdiff128\r\n",
        b"# AEChip: Dvs128\r\n",
        b"# HardwareInterface: CypressFX2DVS128HardwareInterface\r\n",
        b'# <entry key="DAVIS240C.gain" value="1"/>\r\n',
        b"# created Wed Mar 25 15:01:30 CST 2015 by Davis\r\n",
        b"#End Of ASCII Header\r\n",
    ],
)
def test_headers_of_a_dvs128_are_accepted(tmp_path, line):
    assert len(read_aedat2(write(tmp_path / "one.aedat", HEADER_2 + line + EVENTS))) == 40


def test_words_that_a_dvs128_cannot_send_are_refused_above_a_tenth(tmp_path):
    path = write(tmp_path / "dance.aedat", HEADER_2 + DAVIS)
    with pytest.raises(ValueError, match="dance.aedat is not a recording of a DVS128: 39 of 40"):
        read_aedat2(path)
    # AEDAT 1.0 has no header and six bytes for an event; this one got a comment.
    old = b"".join(struct.pack(">HI", i % 128 << 8 | 3, i) for i in range(40))
    with pytest.raises(ValueError, match="of AEDAT 1.0, or damaged"):
        read_aedat2(write(path, b"# old\r\n" + old))
    fifth = b"".join(struct.pack(">II", (i % 5 == 0) << 15 | i, i) for i in range(40))
    with pytest.raises(ValueError, match="8 of 40 address words have bits that this camera never"):
        read_aedat2(write(path, HEADER_2 + fifth))


@pytest.mark.parametrize("word", [1 << 15, 1 << 31, 0xFFFF, 1 << 16 | 5])
def test_fewer_special_words_are_skipped_and_counted(tmp_path, word):
    content = HEADER_2 + EVENTS[:160] + struct.pack(">II", word, 20) + EVENTS[160:]
    path = write(tmp_path / "triggers.aedat", content)
    with pytest.warns(SkippedWords, match="triggers.aedat: skipped 1 of 41 address words") as notes:
        events = read_aedat2(path)
    assert notes[0].message.count == 1
    assert np.array_equal(events, read_aedat2(write(path, HEADER_2 + EVENTS)))


@pytest.mark.parametrize(
    "read, content, version, hint",
    [
        (read_aedat2, b"#!AER-DAT1.0\r\n" + EVENTS, "AEDAT 1.0", ""),
        (read_aedat2, b"#!AER-DAT3.0\r\n" + EVENTS, "AEDAT 3.0", ""),
        (read_aedat2, b"#!AER-DAT4.0\r\n" + EVENTS, "AEDAT 4.0", ""),
        (read_aedat31, b"#!AER-DAT4.0\r\n" + EVENTS, "AEDAT 4.0", ""),
        (read_aedat31, b"#!AER-DAT3.0\r\n" + EVENTS, "AEDAT 3.0", ""),
        (read_aedat31, HEADER_2 + EVENTS, "AEDAT 2.0", "read_aedat2"),
        (read_aedat2, HEADER_31 + packet_31([(1, 2, 3, 1)]), "AEDAT 3.1", "read_aedat31"),
        # The other reader would refuse these, too: of another camera, damaged, compressed.
        (read_aedat31, HEADER_2 + JAVA + EVENTS, "AEDAT 2.0", ""),
        (read_aedat31, HEADER_2 + DAVIS, "AEDAT 2.0", ""),
        (read_aedat31, HEADER_2 + EVENTS[:-1], "AEDAT 2.0", ""),
        (read_aedat2, HEADER_31 + packet_31([(1, 2, 3, 1)], kind=0x8001), "AEDAT 3.1", ""),
        (read_atis, HEADER_2 + EVENTS, "an AEDAT file", ""),
    ],
)
def test_a_hint_names_a_reader_only_where_it_reads_the_file(tmp_path, read, content, version, hint):
    with pytest.raises(ValueError, match="other.aedat is not an .* file: ") as error:
        read(write(tmp_path / "other.aedat", content))
    assert version in str(error.value)
    assert ("use read_" in str(error.value)) == bool(hint) and hint in str(error.value)


@pytest.mark.parametrize("kind", [0x8001, 0x8000, 0x8002])
def test_compressed_packets_are_refused_as_such(tmp_path, kind):
    header = b"#!AER-DAT3.1\r\n#Format: SerializedTS,PNGFrames\r\n#!END-HEADER\r\n"
    content = header + packet_31([(7, 0, 1, 1)]) + packet_31([(8, 0, 1, 1)], kind=kind)
    path = write(tmp_path / "small.aedat", content)
    at = len(header) + 36
    with pytest.raises(ValueError, match=f"small.aedat has compressed packets.*at byte {at}"):
        read_aedat31(path)
    # The same header without compressed packets.
    assert len(read_aedat31(write(path, header + packet_31([(7, 0, 1, 1)])))) == 1


def test_packets_of_zeros_and_times_of_32_bits_are_refused(tmp_path):
    path = tmp_path / "zeros.aedat"
    with pytest.raises(ValueError, match="zeros.aedat is damaged: the packet at byte"):
        read_aedat31(write(path, HEADER_31 + bytes(2800)))
    with pytest.raises(ValueError, match="with a time of 31 bits"):
        read_aedat31(write(path, HEADER_31 + packet_31([(2**31, 2, 3, 1)])))


@pytest.mark.parametrize(
    "content, name",
    [
        (b"% Data file containing CD events\n% Version 2\n% Width 640\n", "a Prophesee recording"),
        (b"% camera_integrator_name Prophesee\n% evt 3.0\n", "a Prophesee recording"),
        (b"#ROSBAG V2.0\nE\0\0\0", "a ROS bag"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"PK\3\4" + bytes(46), "a zip archive"),
        (b"\x1f\x8b\x08" + bytes(47), "compressed by gzip"),
        (b"\x93NUMPY" + bytes(44), "a NumPy array"),
        (b"\xfd7zXZ\0" + bytes(44), "compressed by xz"),
        (b"7z\xbc\xaf" + bytes(44), "a 7z archive"),
        (b"Event Stream\2\0\0" + bytes(44), "an Event Stream file"),
        (b"<!doctype html><html><body>404</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of git-lfs"),
    ],
)
@pytest.mark.parametrize("read", [read_aedat2, read_aedat31, read_atis])
def test_files_of_other_formats_are_refused_by_the_name_of_the_format(
    tmp_path, read, content, name
):
    content = content.ljust(-(-len(content) // 40) * 40, b"\0")
    with pytest.raises(ValueError, match="recording.bin is not an .*"):
        read(write(tmp_path / "recording.bin", content))
    with pytest.raises(ValueError, match=name):
        read(io.BytesIO(content))


def test_a_first_event_that_looks_like_another_format_is_read(tmp_path):
    # x=37 is "%", the start of Prophesee's headers, y=65 is "A", and 80, 75 is "PK", that of zip.
    for x, y in ((37, 65), (37, 32), (37, 122), (80, 75), (35, 33), (60, 104)):
        path = write(tmp_path / "image_0001.bin", bytes([x, y, 0x80, 1, 0, 1, 2, 0, 1, 1]))
        assert read_atis(path).tolist() == [(256, x, y, 1), (257, 1, 2, 0)]


@pytest.mark.parametrize(
    "line",
    [
        b"# AEChip: DVS128" + b" " * 300_000 + b".\r\n",
        b"# AEChip:" + b" " * 300_000 + b"\r\n",
        b"#" * 300_000 + b"\r\n",
        b"# " + b"DVS-" * 100_000 + b"\r\n",
        b"#\n" * 100_000,
    ],
)
def test_headers_of_any_form_are_searched_in_linear_time(tmp_path, line):
    path = write(tmp_path / "slow.aedat", HEADER_2 + line + EVENTS)
    start = time.process_time()
    assert len(read_aedat2(path)) == 40
    assert time.process_time() - start < 2
    with pytest.raises(ValueError, match="slow.aedat is damaged: its header has more than"):
        read_aedat2(write(path, HEADER_2 + b"# " + b"a" * 2**22 + b"\n" + EVENTS))


def test_many_packets_of_few_events_are_read_in_linear_time(tmp_path):
    packets = packet_31([]) * 60_000 + b"".join(
        packet_31([(i, i % 128, i % 99, i % 2)], overflow=i // 15_000) for i in range(30_000)
    )
    path = write(tmp_path / "many.aedat", HEADER_31 + packets)
    start = time.process_time()
    events = read_aedat31(path)
    assert time.process_time() - start < 2
    i = np.arange(30_000)
    assert np.array_equal(events, make_events(i + (i // 15_000 << 31), i % 128, i % 99, i % 2))


def test_the_packet_with_a_time_of_32_bits_is_named(tmp_path):
    good = [packet_31([(1, 2, 3, 1)] * count) for count in (1, 0, 2)]
    bad = packet_31([(1, 2, 3, 1), (2**31, 2, 3, 1)])
    path = write(tmp_path / "late.aedat", HEADER_31 + b"".join(good) + bad + good[0])
    at = len(HEADER_31 + b"".join(good))
    with pytest.raises(ValueError, match=f"the packet at byte {at} claims 2 of 2 events"):
        read_aedat31(path)


@pytest.mark.parametrize("read", [read_aedat2, read_aedat31, read_atis])
def test_folders_pipes_and_devices_are_refused_by_name(tmp_path, read):
    with pytest.raises(ValueError, match="missing.aedat cannot be read"):
        read(tmp_path / "missing.aedat")
    with pytest.raises(ValueError, match="but a folder, a pipe or a device"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe is not .*, but a folder, a pipe or a device"):
        read(tmp_path / "pipe")
    with pytest.raises(ValueError, match="/dev/zero is not"):
        read("/dev/zero")
    with pytest.raises(ValueError, match="got an empty text"):
        read("")


def test_a_recording_that_cannot_be_written_is_an_error_and_leaves_no_part(tmp_path):
    events = make_events([0], [1], [2], [1])
    with pytest.raises(ValueError, match="missing/one.aedat cannot be written"):
        write_aedat2(tmp_path / "missing" / "one.aedat", events)
    with pytest.raises(ValueError, match="name of 404 bytes|cannot be written"):
        write_aedat2(tmp_path / ("a" * 404), events)
    write_aedat2(tmp_path / "mine.aedat", events)
    with pytest.raises(ValueError, match="mine.aedat exists already; choose another name"):
        write_aedat2(tmp_path / "mine.aedat", events[:0])
    assert np.array_equal(read_aedat2(tmp_path / "mine.aedat"), events)
    (tmp_path / "mine.aedat").unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(ValueError, match="full.aedat cannot be written .File too large"):
            write_aedat2(tmp_path / "full.aedat", events)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert not list(tmp_path.iterdir())


def test_recordings_are_found_below_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "one.aedat", HEADER_2 + EVENTS)
    assert len(read_aedat2("~/one.aedat")) == 40
    assert make_events([], [], [], []).size == 0
