"""AEDAT 4 is decoded in a process of its own, which damaged files take down, and nothing else."""

import io
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pit_jax.reading import CLOCK
from tests.train.event_files import encode_aedat4, make_cifar10_dvs, make_stream, write
from train.data import load
from train.data.events import aedat4
from train.data.events.aedat4 import read_aedat4
from train.errors import UserError

pytest.importorskip("aedat")


@pytest.fixture
def good(tmp_path):
    (tmp_path / "good.aedat4").write_bytes(encode_aedat4(make_stream(0)))
    return tmp_path / "good.aedat4"


@pytest.fixture
def act(tmp_path, monkeypatch):
    """Return a function that replaces the decoder by one that runs some code for every file."""

    def replace(code):
        script = tmp_path / "child.py"
        script.write_text(f"import os, sys, time\nsys.stdin.readline()\n{code}\n")
        monkeypatch.setattr(aedat4, "CHILD", script)
        aedat4._stop_decoder()

    yield replace
    aedat4._stop_decoder()


def read_damaged(path, content, message):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_aedat4(path)
    assert str(path) in str(error.value) and str(error.value).count("\n") < 3


def test_packets_that_declare_gigabytes_are_refused(tmp_path, good):
    content = bytearray(good.read_bytes())
    size_at = content.index(b"EVTS", 500) - 12  # The size of the first packet, before its content.
    for size in (2**31 - 1, 2**32 - 1, 2**31, 0x9442F362):
        struct.pack_into("<I", content, size_at, size)
        read_damaged(tmp_path / "huge.aedat4", bytes(content), "huge.aedat4 is not a complete AEDA")
        assert np.array_equal(read_aedat4(good), make_stream(0))


@pytest.mark.parametrize("code", ["os.abort()", "os.kill(os.getpid(), 11)", "os._exit(0)"])
def test_a_decoder_that_crashes_takes_nothing_down(good, act, monkeypatch, code):
    act(code)
    with pytest.raises(
        ValueError, match="good.aedat4 is not a complete .* file: decoding it crash"
    ):
        read_aedat4(good)
    monkeypatch.undo()
    assert np.array_equal(read_aedat4(good), make_stream(0))


@pytest.mark.parametrize("loop", ["while True: pass", "import time; time.sleep(60)"])
def test_a_decoder_that_computes_or_waits_for_ever_is_ended(good, monkeypatch, loop):
    monkeypatch.setattr(aedat4, "SECONDS", 0.3)
    source = aedat4.CHILD.read_text()
    script = good.with_name("child.py")
    script.write_text(source.replace("    decoder = open_file(path)", f"    {loop}"))
    monkeypatch.setattr(aedat4, "CHILD", script)
    aedat4._stop_decoder()
    with pytest.raises(ValueError, match=r"good.aedat4 is not .*\(decoding it does not end"):
        read_aedat4(good)
    monkeypatch.undo()
    assert np.array_equal(read_aedat4(good), make_stream(0))


def test_a_busy_machine_does_not_make_a_good_file_a_damaged_one(good, monkeypatch):
    monkeypatch.setattr(aedat4, "SECONDS", 0.3)
    source = aedat4.CHILD.read_text()
    script = good.with_name("child.py")
    slow = "import time; time.sleep(0.6); decoder = open_file(path)"
    script.write_text(source.replace("decoder = open_file(path)", slow))
    monkeypatch.setattr(aedat4, "CHILD", script)
    aedat4._stop_decoder()
    assert np.array_equal(read_aedat4(good), make_stream(0))
    monkeypatch.undo()
    aedat4._stop_decoder()


def test_a_damaged_file_leaves_the_decoder_without_a_limit_on_time(good, monkeypatch):
    monkeypatch.setattr(aedat4, "SECONDS", 0.1)
    aedat4._stop_decoder()
    damaged = good.with_name("damaged.aedat4")
    damaged.write_bytes(good.read_bytes()[:300])
    with pytest.raises(ValueError, match="damaged.aedat4 is not a complete AEDAT 4 file"):
        read_aedat4(damaged)
    time.sleep(0.1 * (CLOCK + 1))
    assert aedat4._decoder.poll() is None
    assert np.array_equal(read_aedat4(good), make_stream(0))


def test_a_decoder_cannot_take_all_memory(good, monkeypatch):
    monkeypatch.setattr(aedat4, "MEMORY", 2**26)
    source = aedat4.CHILD.read_text()
    script = good.with_name("child.py")
    script.write_text(source.replace("    decoder = open_file(path)", "    path = b'1' * 2**30"))
    monkeypatch.setattr(aedat4, "CHILD", script)
    aedat4._stop_decoder()
    with pytest.raises(ValueError, match=r"good.aedat4 is not a complete AEDAT 4 file \(MemoryErr"):
        read_aedat4(good)
    monkeypatch.undo()
    aedat4._stop_decoder()
    assert np.array_equal(read_aedat4(good), make_stream(0))


def test_a_decoder_that_was_killed_is_started_again(good):
    read_aedat4(good)
    os.kill(aedat4._decoder.pid, signal.SIGKILL)
    aedat4._decoder.wait()
    assert np.array_equal(read_aedat4(good), make_stream(0))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "starts with b''"),
        (b"#!AER-DAT3.1\r\n", "starts with b'#!AER-DAT3.1"),
        (b"#!AER-DAT2.0\r\n" + bytes(80), "starts with b'#!AER-DAT2.0"),
        (b"#!AER-DAT4.0\r\n" + b"\xff" * 200, "is not a complete AEDAT 4 file"),
        (b"#!AER-DAT4.0\r\n" + bytes(200), "is not a complete AEDAT 4 file"),
    ],
)
def test_other_versions_and_damaged_headers_are_refused_by_name(tmp_path, content, message):
    read_damaged(tmp_path / "other.aedat4", content, message)


def test_a_damaged_recording_of_a_data_set_ends_in_one_error(tmp_path):
    files = make_cifar10_dvs((0, 950), ".aedat4", encode_aedat4)
    name = "bird/cifar10_bird_0.aedat4"
    at = files[name].index(b"EVTS", 500) - 12
    files[name] = files[name][:at] + b"\xff\xff\xff\x7f" + files[name][at + 4 :]
    write(tmp_path, files)
    with pytest.raises(UserError, match="cifar10_bird_0.aedat4 is not a complete AEDAT 4 file"):
        load("cifar10_dvs", tmp_path, num_frames=1)


def test_the_decoder_ends_with_the_process_that_uses_it(good):
    code = (
        "import os, sys; from pathlib import Path; from train.data.events import aedat4;"
        f"aedat4.read_aedat4(Path({str(good)!r})); print(aedat4._decoder.pid, flush=True); {{}}"
    )
    for end in ("", "os.kill(os.getpid(), 9)"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(end)],
            capture_output=True,
            cwd=Path(__file__).parents[4],
            timeout=60,
            check=False,
        )
        pid = int(done.stdout.split()[0])
        for _ in range(200):
            if not Path(f"/proc/{pid}").exists() or b"Z" in Path(f"/proc/{pid}/stat").read_bytes():
                break
            signal.sigtimedwait([], 0.01)
        else:
            pytest.fail(f"the decoder {pid} is still running")


def test_names_with_any_character_are_passed_to_the_decoder(good):
    odd = good.with_name("a\nb\"c' [1] é.aedat4")
    odd.write_bytes(good.read_bytes())
    assert np.array_equal(read_aedat4(odd), make_stream(0))
    assert np.array_equal(read_aedat4(io.BytesIO(good.read_bytes())), make_stream(0))
