"""Image files to arrays on the host: decoded, cropped and resized as ImageNet networks expect."""

import io
import math

import numpy as np
from PIL import Image, UnidentifiedImageError

from ...errors import UserError

RATIO, ATTEMPTS = 4 / 3, 10  # Of the random rectangle: the widest ratio of its sides.
BILINEAR = Image.Resampling.BILINEAR
START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"  # Markers of a JPEG.
RESAMPLING = {"bilinear": BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode(content: bytes, place: str, todo: str = "") -> Image.Image:
    """Return the image of a file's bytes in RGB; raise `UserError` with `place` and `todo`."""
    try:
        with Image.open(io.BytesIO(content)) as opened:
            return opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{place} is no whole image ({explain(error)}). {todo}".rstrip()) from error


def check_image(content: bytes, place: str, todo: str = "") -> None:
    """Raise `UserError` unless the bytes are an image from its first byte to its last.

    A JPEG is not decoded, which would take 20 times as long, if its end mark follows its pixels.
    """
    # Pixels hold none of these marks, a preview before them may; bytes behind the end do no harm.
    if not content.startswith(START) or content.rfind(END) < content.rfind(SCAN):
        decode(content, place, todo)
        return
    try:
        with Image.open(io.BytesIO(content)):
            pass
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{place} is no whole image ({explain(error)}). {todo}".rstrip()) from error


def explain(error: Exception) -> str:
    """Return why Pillow could not read an image, in words for its user."""
    if isinstance(error, UnidentifiedImageError):  # Its own words are of a Python object.
        return "it is in no format that Pillow knows"
    return str(error)


def shrink(content: bytes, size: int, place: str, todo: str) -> bytes:
    """Return the file as it is, or as a JPEG whose shorter side is `size` if that was longer."""
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
    """Return a random rectangle as `size size 3`: `least_area` to 1, sides 3:4 to 4:3."""
    box = draw_rectangle(*image.size, least_area, rng)
    return np.asarray(image.crop(box).resize((size, size), RESAMPLING[resample]))


def center_crop(
    image: Image.Image, *, size: int, resize: int, resample: str = "bilinear"
) -> np.ndarray:
    """Return the middle `size size 3` of the image resized to a shorter side of `resize`."""
    image = image.resize(_scale_shorter_side(image, resize), RESAMPLING[resample])
    left, top = (round((side - size) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _scale_shorter_side(image: Image.Image, size: int) -> tuple[int, int]:
    width, height = image.size
    shorter = min(width, height)
    return int(size * width / shorter), int(size * height / shorter)


def draw_rectangle(
    width: int, height: int, least_area: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom; the largest in the middle if no random one fits."""
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
