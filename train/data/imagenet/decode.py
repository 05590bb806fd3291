"""Decode, crop and resize image files on the host, as ImageNet networks expect."""

import io
import math

import numpy as np
from PIL import Image

from ..images.picture import check_header, open_image

RATIO, ATTEMPTS = 4 / 3, 10  # Of random rectangles, as in torchvision: the widest ratio, the draws.
BILINEAR = Image.Resampling.BILINEAR
START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"  # Markers of a JPEG.
RESAMPLING = {"bilinear": BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode(content: bytes, place: str, todo: str = "") -> Image.Image:
    """Return the image of a file's bytes in RGB; raise `UserError` with `place` and `todo`.

    As torchvision does it: not turned by orientation tags, and transparency is dropped.
    """
    return open_image(content, place, as_stored=True, advice=todo)


def check_image(content: bytes, place: str, todo: str = "") -> None:
    """Raise `UserError` unless the bytes are an image from its first byte to its last.

    A JPEG is not decoded, which would take 20 times as long, if an end mark follows its pixels.
    """
    # Pillow opens a truncated JPEG without an error. Compressed pixels contain no marks, so an end
    # mark after the last start of a scan ends the image. A preview in the header has both marks
    # too, but before the scan; bytes after the end are harmless.
    last = content.rfind(SCAN)
    if not content.startswith(START) or content.rfind(END) < last:
        decode(content, place, todo)
    else:
        check_header(content, place, todo, one_scan=content.find(SCAN) == last)


def shrink(content: bytes, size: int, place: str, todo: str) -> bytes:
    """Return the image as a JPEG with shorter side `size`; unchanged if it is not larger."""
    image = decode(content, place, todo)
    if min(image.size) <= size:
        return content
    smaller = io.BytesIO()
    image.resize(_scale_shorter_side(image, size), BILINEAR).save(smaller, "JPEG", quality=95)
    return smaller.getvalue()


def random_crop(
    image: Image.Image,
    rng: np.random.Generator,
    *,
    size: int,
    least_area: float = 0.08,
    resample: str = "bilinear",
) -> np.ndarray:
    """Return a random rectangle, resized to `size size 3`.

    Its area is `least_area` to 1 of the image's, the ratio of its sides 3:4 to 4:3.
    """
    # Cropped before it is resized: most crops are much smaller than the image.
    box = draw_rectangle(*image.size, least_area, rng)
    return np.asarray(image.crop(box).resize((size, size), RESAMPLING[resample]))


def center_crop(
    image: Image.Image, *, size: int, resize: int, resample: str = "bilinear"
) -> np.ndarray:
    """Return the middle `size size 3` of the image resized to a shorter side of `resize`."""
    image = image.resize(_scale_shorter_side(image, resize), RESAMPLING[resample])
    # Rounded half to even, as in torchvision's CenterCrop.
    left, top = (round((side - size) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _scale_shorter_side(image: Image.Image, size: int) -> tuple[int, int]:
    # Truncated, not rounded, as in torchvision's Resize.
    width, height = image.size
    shorter = min(width, height)
    return int(size * width / shorter), int(size * height / shorter)


def draw_rectangle(
    width: int, height: int, least_area: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a random rectangle, as torchvision draws it.

    If none of ten draws fits, it is the largest allowed rectangle in the middle.
    """
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(least_area, 1)
        ratio = RATIO ** rng.uniform(-1, 1)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(rng.integers(width - w + 1))
            top = int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO))
    h = min(height, round(width * RATIO))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
