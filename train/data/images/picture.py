"""The one way to open an image file, so that every program sees the same pixels."""

import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from pit_jax.reading import quote_error, reading

from ...errors import UserError

BACKGROUND = (255, 255, 255)  # The color under transparent pixels.
# Formats that are not raster images: vector drawings, films, and data that Pillow only recognizes.
NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Known without importing the readers of all other formats, which takes 0.15 s.
USUAL = ("JPEG", "PNG", "GIF", "BMP", "PPM")
USUAL_ENDINGS = {".jpg", ".jpeg", ".png", ".gif", ".bmp"}
# Photos of phones (MPO) have a preview as their second image, PSD files have layers.
NO_SERIES = {"MPO", "PSD"}
# The formats whose 16-bit grays use the whole range; of others the range is not known.
FULL_RANGE = {"JPEG2000", "PNG", "PPM", "TIFF"}
LARGE = 1 << 28  # Bytes of a file that is not read as a whole.
STRIP = 1 << 22  # Pixels that are converted at once.
# Each scan of a JPEG, also an empty one, takes time for all pixels. Real ones have about ten.
JPEGS, SCAN, MOST_SCANS = ("JPEG", "MPO"), b"\xff\xda", 100
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF's tags, and a value of the second.

# Where Pillow keeps EXIF and XMP data of all formats but TIFF.
TAGGED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
# The values of the orientation tag, and how an image with it becomes upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

TRANSPARENT, TURNED, DEEP, DIM = "transparent", "turned", "deep", "dim"
SERIES, INK, GRAYED, UNTAGGED = "series", "ink", "grayed", "untagged"
MEANINGS = {
    TRANSPARENT: "transparent parts drawn on white",
    TURNED: "turned upright, as the orientation tag says",
    UNTAGGED: "not turned, because their EXIF data are damaged",
    DEEP: "reduced from 16 to 8 bits",
    DIM: "nearly black then, because no value is above 1/16 of white",
    SERIES: "only the first picture of an animation or of several pages read",
    INK: "converted to RGB without color profile",
    GRAYED: "converted from color to gray",
}
# Pillow's names of gray images with 2 and 4 bits, and the steps between their shades in 8 bits.
GRAY_STEPS = {"L;2": 85, "L;4": 17}
# Names of modes without colors.
GRAYS = {"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F"}

# Pillow warns of images above its limit on pixels, and raises above twice the limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def is_picture(name: str) -> bool:
    """Return whether a file with this name is an image of pixels that Pillow reads."""
    ending = os.path.splitext(name)[1].lower()
    return ending in USUAL_ENDINGS or ending in _list_endings()


@cache
def _list_endings() -> set[str]:
    formats = set(_list_formats())
    known = Image.registered_extensions()
    # Photos with a preview, which the reader of JPEG opens.
    return {ending for ending, kind in known.items() if kind in formats} | {".mpo"}


@cache
def _list_formats() -> tuple[str, ...]:
    Image.init()
    return (*USUAL, *sorted(set(Image.OPEN) - {*USUAL, *NO_PICTURES}))


def open_image(
    source: Path | bytes,
    place: object,
    *,
    gray: bool = False,
    as_stored: bool = False,
    changes: Counter[str] | None = None,
    advice: str = "Replace or remove it.",
) -> Image.Image:
    """Return the image of a file, or of its bytes, as RGB or gray with 8 bits for each value.

    Transparent pixels are drawn on white and the image is turned upright; with `as_stored`
    neither, as torchvision does it for ImageNet. Of animations and several pages, the first is
    returned. `changes` counts what was converted, for `describe_changes`. Raises UserError that
    names `place` and ends with `advice`, for whatever is not a whole image.
    """
    changes = Counter() if changes is None else changes
    with reading(place, "a complete image", error=UserError, advice=advice):
        try:
            with _open(source) as opened:
                return _convert(opened, "L" if gray else "RGB", as_stored, changes)
        except (_UnreadableError, Image.DecompressionBombError) as error:
            raise _make_error(place, error, advice) from error


def check_header(content: bytes, place: object, advice: str, *, one_scan: bool = False) -> None:
    """Raise UserError unless Pillow knows the format of the bytes and can read their header.

    With `one_scan` the scans of a JPEG are not counted.
    """
    with reading(place, "a complete image", error=UserError, advice=advice):
        try:
            (_open_any(content) if one_scan else _open(content)).close()
        except (_UnreadableError, Image.DecompressionBombError) as error:
            raise _make_error(place, error, advice) from error


def describe_changes(changes: Mapping[str, int], total: int) -> list[str]:
    """Return a phrase for each kind of conversion that `open_image` counted, with the numbers."""
    return [
        f"{meaning}: {changes[kind]:,} of {total:,} images"
        for kind, meaning in MEANINGS.items()
        if changes.get(kind)
    ]


class _UnreadableError(ValueError):
    """An image of whose file Pillow raises nothing that helps; the text ends a sentence."""


def _make_error(place: object, error: Exception, advice: str) -> UserError:
    if isinstance(error, Image.DecompressionBombError):
        return UserError(f"{place} is too large ({quote_error(error)}). {advice}")
    return UserError(f"{place} {error} {advice}".rstrip())


def _open(source: Path | bytes) -> Image.Image:
    # From memory: a read of as many bytes as a damaged header declares would allocate them first.
    if isinstance(source, Path):
        with open(source, "rb") as file:
            if os.fstat(file.fileno()).st_size <= LARGE:
                source = file.read()
    image = _open_any(source)
    is_jpeg = image.format in JPEGS
    scans = _count_scans(source) if isinstance(source, bytes) and is_jpeg else 0
    if scans > MOST_SCANS:
        raise _UnreadableError(f"has {scans:,} scans, which take too long to decode.")
    return image


def _count_scans(content: bytes) -> int:
    """Return the number of scans of a JPEG; NumPy finds the marks 7 times as fast as `count`."""
    values = np.frombuffer(content, np.uint8)
    return int(np.count_nonzero((values[:-1] == SCAN[0]) & (values[1:] == SCAN[1])))


def _open_any(source: Path | bytes) -> Image.Image:
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    for formats in (USUAL, None):
        try:
            return Image.open(content, formats=formats or _list_formats())
        except UnidentifiedImageError as error:  # Its message may name a Python object.
            if formats is None:
                begin = source[:512] if isinstance(source, bytes) else b"?"
                raise _UnreadableError(
                    f"is not a complete image ({_guess_content(begin)})."
                ) from error
    raise AssertionError


def _guess_content(begin: bytes) -> str:
    """Return what a file with these first bytes is instead of an image, for common mistakes."""
    if not begin:
        return "it is empty"
    if begin.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; `git lfs pull` fetches the image"
    if begin.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, as servers send instead of an image that they do not have"
    return "Pillow does not know its format"


def _convert(opened: Image.Image, mode: str, as_stored: bool, changes: Counter[str]) -> Image.Image:
    if opened.format not in NO_SERIES and getattr(opened, "is_animated", False):
        changes[SERIES] += 1
    _scale_transparent_color(opened)
    turn = None if as_stored else _find_turn(opened, changes)
    image: Image.Image = opened
    if image.mode == "F" or image.mode.startswith("I"):
        image = _reduce_to_8_bits(opened, changes)
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, rgb = (ImageCms.createProfile(space) for space in ("LAB", "sRGB"))
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        image = cast(Image.Image, converted)  # None only in place.
    if opened.mode in ("CMYK", "LAB"):
        changes[INK] += 1
    if mode == "L" and not _is_gray(image):
        changes[GRAYED] += 1
    if image.has_transparency_data and not as_stored:
        image = _draw_on_background(image, changes)
    image.load()  # Its file is about to be closed.
    if image.mode != mode:
        image = image.convert(mode)
    if turn is None:
        return image
    if image is not opened:
        opened.close()  # Three copies of the largest images would take more than 2 GB.
    return image.transpose(turn)


def _find_turn(opened: Image.Image, changes: Counter[str]) -> Image.Transpose | None:
    """Return the operation that turns the image upright, None if it is upright; count it."""
    is_tiff = opened.format == "TIFF"
    if not is_tiff:  # Loading a TIFF turns it and removes its tag.
        opened.load()
        if TAGGED.isdisjoint(opened.info):
            return None
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # The image itself is whole.
        changes[UNTAGGED] += 1
        return None
    if orientation not in TURNS:
        return None
    changes[TURNED] += 1
    # Not ImageOps.exif_transpose: it also writes all other tags and fails if one is damaged.
    return None if is_tiff else TURNS[orientation]


def _scale_transparent_color(opened: Image.Image) -> None:
    """Convert the transparent color of a PNG to 8 bits; call it before the pixels are loaded.

    Pillow converts only the pixels.
    """
    hidden = opened.info.get("transparency")
    if opened.format != "PNG" or hidden is None or not opened.tile:  # type: ignore[attr-defined]
        return
    stored = opened.tile[0].args  # type: ignore[attr-defined]
    if stored in GRAY_STEPS:
        opened.info["transparency"] = GRAY_STEPS[stored] * hidden & 255
    elif stored == "RGB;16B":
        opened.info["transparency"] = tuple(value >> 8 for value in hidden)


def _is_gray(image: Image.Image) -> bool:
    return image.mode in GRAYS or image.mode in ("P", "PA") and _has_gray_palette(image)


def _has_gray_palette(image: Image.Image) -> bool:
    palette = image.getpalette("RGB") or []
    return palette[::3] == palette[1::3] == palette[2::3]


def _reduce_to_8_bits(opened: Image.Image, changes: Counter[str]) -> Image.Image:
    """Return a gray image of 16 bits as one of 8, divided by 257 and rounded."""
    signed = opened.format == "TIFF" and opened.mode == "I"
    if opened.mode == "F" or signed or opened.format not in FULL_RANGE:
        kind = "floats" if opened.mode == "F" else "whole numbers of more than 8 bits"
        raise _UnreadableError(
            f"has {kind}, and the file does not say which value is white. As PNG of 8 or 16 bits "
            "it can be read."
        )
    white, inverted = 65535, False
    if opened.format == "TIFF":
        tags = opened.tag_v2  # type: ignore[attr-defined]
        white = 2 ** tags.get(BITS, (16,))[0] - 1  # 4095 for 12 bits.
        inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    shade_of = _list_shades(white, inverted)
    hidden, most = opened.info.get("transparency"), 0
    reduced = Image.new("L" if hidden is None else "LA", opened.size)
    for box in _list_strips(opened.size):
        values = np.asarray(opened.crop(box))
        most = max(most, int(values.max()))
        strip = Image.fromarray(shade_of[values])
        if hidden is not None:
            alpha = Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8))
            strip = Image.merge("LA", (strip, alpha))
        reduced.paste(strip, box)
    changes[DEEP] += 1
    # Depths in millimeters, or 12 bits in files of 16.
    changes[DIM] += int(not inverted and 0 < most <= white // 16)
    return reduced


@cache
def _list_shades(white: int, inverted: bool) -> np.ndarray:
    """Return the shade in 8 bits of each value of 16 bits; the value `white` becomes 255."""
    shades = ((255 * np.arange(1 << 16) + white // 2) // white).clip(0, 255).astype(np.uint8)
    return 255 - shades if inverted else shades


def _draw_on_background(image: Image.Image, changes: Counter[str]) -> Image.Image:
    below, is_transparent = Image.new("RGB", image.size), False
    for box in _list_strips(image.size):
        strip = image.crop(box)
        # La has colors multiplied by alpha; Pillow converts it only to LA.
        colors = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
        if colors.getchannel("A").getextrema()[0] != 255:
            is_transparent = True
            below.paste(BACKGROUND, box)
            below.paste(colors, box, mask=colors)
        else:
            below.paste(colors, box)
    if is_transparent:
        changes[TRANSPARENT] += 1
    return below


def _list_strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes of whole rows, so that temporary copies of large images stay small."""
    width, height = size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)
