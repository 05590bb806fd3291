"""The one way to open an image: modes, transparency, orientation, series, and what is refused."""

import io
import struct
import warnings
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from train.data.imagenet.decode import check_image, decode
from train.data.images.picture import MEANINGS, describe_changes, is_picture, open_image
from train.errors import UserError

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
COLORS = np.stack([np.roll(RAMP, k, axis=1) for k in (0, 3, 7)], axis=-1).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(content: bytes, **options: object) -> tuple[np.ndarray, Counter]:
    changes: Counter[str] = Counter()
    image = open_image(content, "a file", changes=changes, **options)
    assert image.mode == ("L" if options.get("gray") else "RGB")
    return np.asarray(image), changes


def add_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Add a chunk to a PNG before its pixels."""
    chunk = struct.pack(">I", len(content)) + kind + content
    chunk += struct.pack(">I", zlib.crc32(kind + content))
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk + png[at:]


def make_tiff(
    pixels: np.ndarray, *, bits: int = 16, photometric: int = 1, order: str = "<"
) -> bytes:
    """Write an uncompressed gray TIFF by hand: Pillow writes neither all bits nor inverted ones."""
    height, width = pixels.shape
    if bits == 12:
        flat = pixels.reshape(-1, 2).astype(int)
        three = (flat[:, 0] >> 4, (flat[:, 0] & 15) << 4 | flat[:, 1] >> 8, flat[:, 1] & 255)
        data = np.stack(three, axis=1).astype(np.uint8).tobytes()
    else:
        data = pixels.astype(f"{order}u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    tags += [(273, 8 + 2 + 12 * 9 + 4), (277, 1), (278, height), (279, len(data))]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, 4 if tag in (273, 279) else 3, 1)
        + struct.pack(
            f"{order}I" if tag in (273, 279) else f"{order}HH",
            *((value,) if tag in (273, 279) else (value, 0)),
        )
        for tag, value in tags
    )
    return head + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + data


SIXTEEN = Image.fromarray((RAMP * 257).astype(np.uint16))
DEEP = {
    "png": encode(SIXTEEN),
    "tiff": encode(SIXTEEN, "TIFF"),
    "big-endian tiff": make_tiff(RAMP * 257, order=">"),
    "12-bit tiff": make_tiff(np.rint(RAMP * (4095 / 255)).astype(np.uint16), bits=12),
    "inverted tiff": make_tiff(65535 - RAMP * 257, photometric=0),
    "pgm": b"P5 16 16 65535\n" + (RAMP * 257).astype(">u2").tobytes(),
    "pgm to 1023": b"P5 16 16 1023\n" + np.rint(RAMP * (1023 / 255)).astype(">u2").tobytes(),
    "jpeg 2000": encode(SIXTEEN, "JPEG2000", irreversible=False),
}


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("gray", [True, False])
def test_grays_of_more_than_8_bits_keep_their_shades(name, gray):
    pixels, changes = read(DEEP[name], gray=gray)
    assert (pixels.reshape(16, 16, -1) == RAMP[..., None]).all()
    assert +changes == {"deep": 1}


def test_16_bit_grays_that_use_little_of_their_range_are_counted():
    for kind in ("PNG", "TIFF"):
        assert read(encode(Image.fromarray(RAMP * 16), kind))[1]["dim"] == 1
        assert read(encode(Image.fromarray(RAMP * 17), kind))[1]["dim"] == 0
        assert read(encode(Image.fromarray(RAMP * 0), kind))[1]["dim"] == 0


def test_16_bit_grays_of_imagenet_keep_their_shades():
    assert (np.asarray(decode(DEEP["png"], "a file"))[..., 0] == RAMP).all()


def make_deep_color(colors: int, kind: int) -> bytes:
    """Write a PNG of 16 bits for each of `colors` channels."""
    rows = (COLORS[..., [0, 1, 2, 0][:colors]].astype(">u2") * 257).astype(">u2")
    if colors in (2, 4):
        rows[..., -1] = 65535
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("colors, kind", [(3, 2), (4, 6), (2, 4)])
def test_colors_of_16_bits_keep_their_shades(colors, kind):
    pixels, _ = read(make_deep_color(colors, kind))
    expected = COLORS if colors > 2 else np.repeat(COLORS[..., :1], 3, axis=-1)
    assert (pixels == expected).all()


@pytest.mark.parametrize(
    "image, kind",
    [
        (Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        (Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        (Image.fromarray((RAMP / 255).astype(np.float32)), "PPM"),
    ],
)
def test_values_whose_range_is_unknown_are_refused(image, kind):
    content = encode(image, kind)
    with pytest.raises(UserError, match="^a file has (floats|whole numbers).*which value is white"):
        read(content)


def make_transparent(mode: str) -> bytes:
    """Write an image whose left half is transparent and whose right half is a dark gray of 60."""
    alpha = np.repeat([[0, 255]], 2, axis=0).astype(np.uint8)
    image = Image.new("LA", (2, 2), (60, 255))
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":
        image = Image.fromarray(np.array([[0, 1], [0, 1]], np.uint8))
        image.putpalette([200, 0, 0, 60, 60, 60])
        return encode(image, transparency=0)
    if mode == "P with several":
        image = Image.fromarray(np.array([[0, 1], [0, 1]], np.uint8))
        image.putpalette([200, 0, 0, 60, 60, 60])
        return encode(image, transparency=b"\0\xff")
    if mode == "GIF":
        image = Image.fromarray(np.array([[0, 1], [0, 1]], np.uint8))
        image.putpalette([200, 0, 0, 60, 60, 60])
        return encode(image, "GIF", transparency=0)
    if mode == "L with a hidden gray":
        return encode(Image.fromarray(np.array([[9, 60], [9, 60]], np.uint8)), transparency=9)
    if mode == "RGB with a hidden color":
        image = Image.fromarray(np.array([[9, 60], [9, 60]], np.uint8)).convert("RGB")
        return encode(image, transparency=(9, 9, 9))
    if mode == "16 bits with a hidden gray":
        deep = Image.fromarray(np.array([[9, 60 * 257]] * 2, np.uint16))
        return add_chunk(encode(deep), b"tRNS", struct.pack(">H", 9))
    if mode in ("WEBP", "TIFF"):
        return encode(image.convert("RGBA"), mode, **({"lossless": True} if mode == "WEBP" else {}))
    return encode(image.convert(mode))


TRANSPARENT = [
    *("RGBA", "LA", "P", "P with several", "GIF", "L with a hidden gray", "WEBP", "TIFF"),
    *("RGB with a hidden color", "16 bits with a hidden gray"),
]


@pytest.mark.parametrize("mode", TRANSPARENT)
@pytest.mark.parametrize("gray", [True, False])
def test_transparent_parts_are_drawn_on_white_and_counted(mode, gray):
    pixels, changes = read(make_transparent(mode), gray=gray)
    assert (pixels.reshape(2, 2, -1) == np.array([[255, 60]])[..., None]).all()
    assert changes["transparent"] == 1


def test_opaque_images_with_an_alpha_channel_are_not_counted():
    pixels, changes = read(encode(Image.fromarray(COLORS).convert("RGBA")))
    assert (pixels == COLORS).all() and not changes


def test_half_transparent_pixels_are_mixed_with_white():
    pixels, _ = read(encode(Image.new("RGBA", (1, 1), (0, 100, 200, 128))))
    np.testing.assert_allclose(pixels[0, 0], [127, 177, 227], atol=1)


def test_imagenet_drops_transparency_and_keeps_the_orientation_as_torchvision_does():
    transparent = encode(Image.new("RGBA", (1, 1), (10, 20, 30, 0)))
    assert np.asarray(decode(transparent, "a file")).tolist() == [[[10, 20, 30]]]
    tagged = make_tagged("PNG", 6)
    assert (np.asarray(decode(tagged, "a file")) == COLORS[:8]).all()


def make_tagged(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    return encode(Image.fromarray(COLORS[:8]), kind, exif=exif.tobytes(), **options.get(kind, {}))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_images_are_turned_upright_as_their_tag_says(kind, orientation):
    content = make_tagged(kind, orientation)
    with Image.open(io.BytesIO(content)) as image:
        plain = image.convert("RGB")
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    pixels, changes = read(content)
    assert (pixels == expected).all()
    assert pixels.shape == ((16, 8, 3) if orientation in (5, 6, 7, 8) else (8, 16, 3))
    assert changes["turned"] == (orientation in range(2, 9))
    assert kind == "TIFF" or np.array_equal(plain, expected) == (orientation in (0, 1, 9))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0garbage of a camera", b"Exif\0\0II", b"Exif\0\0"])
def test_images_with_damaged_exif_data_are_read(kind, exif):
    options = {"lossless": True} if kind == "WEBP" else {"quality": 100, "subsampling": 0}
    content = encode(Image.fromarray(COLORS), kind, exif=exif, **options)
    pixels, changes = read(content)
    np.testing.assert_allclose(pixels, COLORS, atol=30)
    assert changes["turned"] == 0 and changes["untagged"] in (0, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_photos_are_turned_upright_though_other_tags_are_damaged(kind):
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    maker_note = struct.pack("<HHII", 0x927C, 2, 9, 3)  # Text of another type than allowed.
    model = struct.pack("<HHII", 0x0110, 12, 1, 50)  # A float instead of a name.
    for tags in ([orientation, maker_note], [model, orientation], [model, orientation, maker_note]):
        exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + b"".join(tags)
        content = encode(Image.fromarray(COLORS[:8]), kind, exif=exif + bytes(64))
        pixels, changes = read(content)
        assert pixels.shape == (16, 8, 3) and changes["turned"] == 1


def test_16_bit_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels, changes = read(encode(SIXTEEN, exif=exif.tobytes()), gray=True)
    assert (pixels == np.rot90(RAMP, -1)).all() and +changes == {"turned": 1, "deep": 1}


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_animations_and_pages_the_first_is_read_and_counted(kind):
    shades = [Image.new("RGB", (4, 4), (shade, shade, shade)) for shade in (40, 90, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encode(shades[0], kind, save_all=True, append_images=shades[1:], **options)
    pixels, changes = read(content)
    assert (pixels == 40).all() and changes["series"] == 1


@pytest.mark.parametrize(
    "mode, kind", [("CMYK", "TIFF"), ("CMYK", "JPEG"), ("YCbCr", "JPEG"), ("LAB", "TIFF")]
)
def test_colors_that_are_not_rgb_are_converted(mode, kind):
    gray = Image.new("RGB", (16, 16), (128, 128, 128))
    if mode == "LAB":
        image = Image.merge("LAB", [Image.new("L", (16, 16), value) for value in (137, 128, 128)])
    else:
        image = gray.convert(mode)
    pixels, changes = read(encode(image, kind))
    np.testing.assert_allclose(pixels, 128, atol=4)
    assert changes["ink"] == (mode != "YCbCr")


def test_color_images_for_a_gray_network_are_counted():
    assert read(encode(Image.fromarray(COLORS)), gray=True)[1] == {"grayed": 1}
    assert not read(encode(Image.fromarray(COLORS[..., 0])), gray=True)[1]
    palette = Image.fromarray(COLORS[..., 0]).convert("P")
    assert not read(encode(palette), gray=True)[1]


def test_black_and_white_images_are_read():
    pixels, changes = read(encode(Image.fromarray(RAMP > 100)))
    assert (pixels[..., 0] == np.where(RAMP > 100, 255, 0)).all() and not changes


RASTER = ["BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM"]
RASTER += ["QOI", "SGI", "TGA", "TIFF", "WEBP", "AVIF", "ICNS"]


@pytest.mark.parametrize("kind", RASTER)
def test_every_raster_format_of_pillow_is_read(kind):
    pixels, _ = read(encode(Image.new("RGB", (16, 16), (200, 100, 50)), kind))
    np.testing.assert_allclose(pixels[4, 4], [200, 100, 50], atol=8)


@pytest.mark.parametrize(
    "ending", "png PNG jpg jpeg jfif mpo bmp gif tif tiff webp tga pgm".split()
)
def test_files_of_raster_formats_are_pictures(ending):
    assert is_picture(f"a.{ending}")


@pytest.mark.parametrize("name", ["a.txt", "a", "png", "a.eps", "a.wmf", "a.h5", "a.mpg", "a.heic"])
def test_other_files_are_no_pictures(name):
    assert not is_picture(name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "TGA", "PPM"])
def test_truncated_files_are_refused_by_name(kind):
    content = encode(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), kind
    )
    for share in (0.02, 0.3, 0.9):
        with pytest.raises(UserError, match="^a file is not a complete image"):
            read(content[: int(share * len(content))])


@pytest.mark.parametrize("as_stored", [True, False])
def test_decompression_bombs_are_refused_by_name(as_stored):
    png = bytearray(encode(Image.new("L", (1, 1))))
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    with pytest.raises(UserError, match="^a file is too large .*3600000000 pixels"):
        read(bytes(png), as_stored=as_stored)
    with pytest.raises(UserError, match="^a file is too large"):
        check_image(bytes(png), "a file")


def test_large_images_are_read_without_a_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
        pixels, _ = read(encode(Image.new("1", (10_000, 9_000))), gray=True)
    assert pixels.shape == (9_000, 10_000) and not caught


def test_drawings_are_refused_without_running_a_program():
    content = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(UserError, match="Pillow does not know its format"):
        read(content)


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"nothing", "Pillow does not know its format"),
    ],
)
def test_other_contents_with_the_ending_of_an_image_are_named(tmp_path, content, what):
    file = tmp_path / "a.png"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"a.png is not a complete image .*{what}"):
        open_image(file, file)


def test_photos_with_a_preview_are_single_images():
    photo = Image.fromarray(COLORS)
    content = encode(photo, "MPO", save_all=True, append_images=[photo.resize((8, 8))])
    pixels, changes = read(content)
    assert pixels.shape == (16, 16, 3) and not changes


def test_files_that_cannot_be_read_are_named(tmp_path):
    for name in ("missing.png", "x" * 300 + ".png"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            open_image(tmp_path / name, tmp_path / name)


def test_each_kind_of_conversion_has_a_sentence():
    found = describe_changes(Counter(dict.fromkeys(MEANINGS, 3)), 60)
    assert len(found) == 8 and found[0] == "transparent parts drawn on white: 3 of 60 images"
