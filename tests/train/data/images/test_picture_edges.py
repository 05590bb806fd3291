"""Images at the edges of their formats: transparent colors of few bits, size, and endless scans."""

import io
import struct
import subprocess
import sys
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from train.data.imagenet.decode import check_image
from train.data.images import picture
from train.data.images.picture import open_image
from train.errors import UserError

GRAY, RGB, GRAY_ALPHA = 0, 2, 4  # Types of color in a PNG.


def make_png(
    bits: int, kind: int, rows: bytes, size: tuple[int, int], hidden: tuple[int, ...] = ()
) -> bytes:
    """Return a PNG of compressed `rows`, of which the color `hidden` is transparent."""
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in (
        (b"IHDR", struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0)),
        (b"tRNS", struct.pack(f">{len(hidden)}H", *hidden)),
        (b"IDAT", rows),
        (b"IEND", b""),
    ):
        if part or name == b"IEND":
            checksum = struct.pack(">I", zlib.crc32(name + part))
            content += struct.pack(">I", len(part)) + name + part + checksum
    return content


@pytest.mark.parametrize(
    "bits, kind, row, hidden",
    [
        (1, GRAY, b"\x80", (1,)),
        (2, GRAY, b"\x80", (2,)),
        (4, GRAY, b"\x70", (7,)),
        (8, GRAY, b"\x07\x00", (7,)),
        (16, GRAY, struct.pack(">2H", 0x1234, 0), (0x1234,)),
        (8, RGB, bytes([1, 2, 3, 0, 0, 0]), (1, 2, 3)),
        (16, RGB, struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0), (0x1234, 0x5678, 0x9ABC)),
    ],
)
def test_the_transparent_color_of_a_png_has_the_bits_of_its_file(bits, kind, row, hidden):
    changes = Counter()
    content = make_png(bits, kind, zlib.compress(b"\0" + row), (2, 1), hidden)
    pixels = np.asarray(open_image(content, "a file", changes=changes))
    assert pixels[0].tolist() == [[255] * 3, [0] * 3]
    assert changes["transparent"] == 1


def test_a_jpeg_of_endless_scans_is_refused_by_name():
    file = io.BytesIO()
    Image.new("L", (64, 64)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    start = content.rfind(picture.SCAN)
    (size,) = struct.unpack(">H", content[start + 2 : start + 4])
    scan = content[start : start + 2 + size] + b"\0"
    evil = content[:-2] + 200 * scan + content[-2:]
    with pytest.raises(UserError, match=r"^a file has 2\d\d scans, .* Replace or remove it\.$"):
        open_image(evil, "a file")
    with pytest.raises(UserError, match="scans"):
        check_image(evil, "a file")
    assert open_image(content, "a file").size == (64, 64)


@pytest.mark.parametrize("mode", ["I;16", "LA", "RGBA", "P"])
def test_large_images_are_converted_in_strips_as_small_ones(mode, monkeypatch):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (9, 7, 4), np.uint8)).convert("RGBA")
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 1 << 16, (9, 7), np.uint16))
    elif mode == "P":
        image = image.convert("RGB").quantize(16)
        image.info["transparency"] = 3
    else:
        image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # Turned by 90 degrees.
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    whole, counted = (open_image(file.getvalue(), "", changes=(counts := Counter())), counts)
    monkeypatch.setattr(picture, "STRIP", 15)
    strips, again = (open_image(file.getvalue(), "", changes=(counts := Counter())), counts)
    assert whole.size == (9, 7) and counted == again
    assert (np.asarray(whole) == np.asarray(strips)).all()


MEASURE = """
import resource, sys
from pathlib import Path
from train.data.images.picture import open_image
print(open_image(Path(sys.argv[1]), "a file").size)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("bits, kind", [(8, GRAY_ALPHA), (16, GRAY)])
def test_the_largest_images_take_less_than_2_gigabytes(bits, kind, tmp_path):
    side = 13_300
    packer = zlib.compressobj(1)
    row = bytes(1 + 2 * side)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    (tmp_path / "a.png").write_bytes(make_png(bits, kind, rows, (side, side)))
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "a.png")], capture_output=True, check=True
    )
    size, kilobytes = ended.stdout.splitlines()
    assert size == b"(13300, 13300)" and int(kilobytes) < 2_000_000
