"""Converting ImageNet: incomplete images are refused, files of macOS skipped."""

import numpy as np
import pytest
from PIL import Image

from tests.train.imagenet_files import (
    CLASSES,
    break_huffman_tables,
    drop_names,
    make_jpeg,
    make_tar,
    make_training_images,
    make_validation_images,
    read_stored,
    run_prepare,
    run_refused_prepare,
    write_archives,
    write_folders,
)

pytest.importorskip("array_record")
TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"


def test_the_error_for_a_file_that_is_not_an_image_has_its_offset(tmp_path, capsys):
    source = write_archives(tmp_path / "source")
    images = {name: content for _, name, content in make_validation_images()}
    images["ILSVRC2012_val_00000002.JPEG"] = b"nothing"
    (source / VAL).write_bytes(make_tar(images))
    message = run_refused_prepare(capsys, source, tmp_path / "out")
    offset = 512 + -(-len(images["ILSVRC2012_val_00000001.JPEG"]) // 512) * 512 + 512
    assert (
        f"{source / VAL} (ILSVRC2012_val_00000002.JPEG at byte {offset}) is not a complete image"
        in message
    )
    assert "Pillow does not know its format). Fetch it" in message


def add_preview(content: bytes) -> bytes:
    """Put a small JPEG into the header of a JPEG, as cameras do."""
    inner = b"Exif\0\0" + make_jpeg(1, size=(8, 8))
    return content[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + content[2:]


@pytest.mark.parametrize("layout", [write_archives, write_folders])
@pytest.mark.parametrize("changed", [lambda whole: whole, add_preview])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
def test_truncated_images_are_refused_by_name(tmp_path, capsys, monkeypatch, layout, changed, kept):
    images = make_validation_images()
    label, name, _ = images[1]
    whole = changed(make_jpeg(1, 2, size=(64, 64)))
    images[1] = (label, name, whole[: int(kept * len(whole))])
    monkeypatch.setattr("tests.train.imagenet_files.make_validation_images", lambda: images)
    message = run_refused_prepare(capsys, layout(tmp_path / "source"), tmp_path / "out")
    assert name in message and "is not a complete image" in message and "_io.BytesIO" not in message
    assert "Fetch it, or its archive, again" in message


def test_jpegs_with_trailing_bytes_and_other_formats_are_stored_unchanged(tmp_path):
    source = write_folders(tmp_path / "source")
    folder = source / "train" / CLASSES[0]
    (folder / "0_trailing.JPEG").write_bytes(make_jpeg(5) + bytes(700))
    (folder / "1_preview.JPEG").write_bytes(add_preview(make_jpeg(6)))
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "2_is_a_png.JPEG", "PNG")
    assert run_prepare(source, tmp_path / "out", "--verify") == 0
    assert read_stored(tmp_path / "out", "train")[:3] == [
        (0, (folder / name).read_bytes())
        for name in ("0_trailing.JPEG", "1_preview.JPEG", "2_is_a_png.JPEG")
    ]


def test_verify_finds_damage_inside_an_image(tmp_path, capsys):
    source = write_folders(tmp_path / "source")
    file = source / "train" / CLASSES[1] / "broken.JPEG"
    file.write_bytes(break_huffman_tables(make_jpeg(3)))
    assert f"{file} is not a complete image" in run_refused_prepare(
        capsys, source, tmp_path / "out", "--verify"
    )
    assert run_prepare(source, tmp_path / "other") == 0


def test_files_of_macos_are_skipped(tmp_path):
    folders = write_folders(tmp_path / "folders")
    for path in [*folders.rglob("*.JPEG")]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    (folders / "train" / "__MACOSX").mkdir()
    assert run_prepare(folders, tmp_path / "out") == 0
    assert read_stored(tmp_path / "out", "train") == drop_names(make_training_images())
    archives = write_archives(tmp_path / "archives")
    inner = {
        f"{name}.tar": make_tar(
            {
                copy + file: b"\0\5\x16\7" if copy else content
                for label, file, content in make_training_images()
                if CLASSES[label] == name
                for copy in ("._", "")
            }
        )
        for name in CLASSES
    }
    (archives / TRAIN).write_bytes(make_tar({"._n01440764.tar": b"\0\5\x16\7"} | inner))
    images = {name: content for _, name, content in reversed(make_validation_images())}
    (archives / VAL).write_bytes(make_tar({"__MACOSX/._x.JPEG": b"\0\5\x16\7"} | images))
    assert run_prepare(archives, tmp_path / "from archives") == 0
    assert read_stored(tmp_path / "from archives", "train") == drop_names(make_training_images())
    assert read_stored(tmp_path / "from archives", "test") == drop_names(
        reversed(make_validation_images())
    )
