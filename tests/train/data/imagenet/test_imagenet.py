"""Reading ImageNet: exact decoding, published crops, equal batches for any number of workers."""

import dataclasses
import io
import itertools
import json
import multiprocessing
import shutil
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from tests.train.imagenet_files import (
    CLASSES,
    break_huffman_tables,
    make_jpeg,
    make_training_images,
    make_validation_images,
    write_archives,
)
from train.data import DataNotFound, load
from train.data.feeding.order import SequentialOrder, TrainingOrder
from train.data.imagenet import array_records
from train.data.imagenet import decode as pictures
from train.data.imagenet import source as imagenet_source
from train.data.imagenet.decode import center_crop, decode, random_crop
from train.data.imagenet.source import plan
from train.errors import UserError

pytest.importorskip("grain")
BATCH = 3


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imagenet")
    source = write_archives(folder / "source")
    array_records.convert(plan(source), folder / "data" / "imagenet", workers=1)
    return folder / "data"


def test_data_dir_can_be_the_converted_folder_or_its_parent(converted):
    for place in (converted, converted / "imagenet"):
        data = load("imagenet", place, size=8)
        assert (len(data.train), len(data.test), data.num_classes) == (16, 5, 3)
        assert data.train.shape == data.test.shape == (8, 8, 3)
        assert data.mean == (0.485, 0.456, 0.406) and data.std == (0.229, 0.224, 0.225)


def test_images_of_every_mode_are_decoded_exactly(converted):
    data = load("imagenet", converted)
    found = data.train.read.args[0]
    for i, (label, _, content) in enumerate(make_training_images()):
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert found[i].label == label
        assert (np.asarray(decode(found[i].content, "")) == expected).all()
    assert {Image.open(io.BytesIO(content)).mode for _, _, content in make_training_images()} == {
        *("RGB", "L", "CMYK")
    }


def test_test_images_are_center_crops_of_resized_images(converted):
    data = load("imagenet", converted, size=14)
    stored = sorted(make_validation_images(), key=lambda image: image[1], reverse=True)
    for i, (label, _, content) in enumerate(stored):
        width, height = (image := Image.open(io.BytesIO(content))).size
        assert width < height  # Upright: the width becomes 16, and top and bottom are cut off.
        tall = int(height * 16 / width)
        top = round((tall - 14) / 2)
        resized = np.asarray(image.convert("RGB").resize((16, tall), Image.Resampling.BILINEAR))
        got, got_label = data.test.read(i, np.random.default_rng())
        assert (got == resized[top : top + 14, 1:15]).all() and got_label == label


def test_a_center_crop_has_equal_margins():
    ramp = np.zeros((256, 512, 3), np.uint8)
    ramp[..., 0] = np.arange(512) // 2
    ramp[..., 1] = np.arange(256)[:, None]
    middle = center_crop(Image.fromarray(ramp), size=224, resize=256)
    assert middle.shape == (224, 224, 3)
    assert (middle[0, 0, 0], middle[-1, -1, 0]) == (144 // 2, (144 + 223) // 2)
    assert (middle[0, 0, 1], middle[-1, -1, 1]) == (16, 16 + 223)


def draw_rectangles(width, height, count=4000):
    rng = np.random.default_rng(0)
    drawn = [pictures.draw_rectangle(width, height, 0.08, rng) for _ in range(count)]
    left, top, right, bottom = np.array(drawn).T
    assert (left >= 0).all() and (top >= 0).all()
    assert (right <= width).all() and (bottom <= height).all()
    return left, top, right - left, bottom - top


def test_random_rectangles_have_the_published_areas_and_ratios():
    left, top, w, h = draw_rectangles(500, 375)
    area, ratio = w * h / (500 * 375), w / h
    assert area.min() > 0.079 and area.max() <= 1
    assert ratio.min() > 0.74 and ratio.max() < 1.35
    # Uniform over the rectangles that fit; others are drawn again.
    grid = np.meshgrid(np.linspace(0.08, 1, 500), (4 / 3) ** np.linspace(-1, 1, 500))
    fits = (grid[0] * grid[1] <= 500 / 375) & (grid[0] / grid[1] <= 375 / 500)
    for drawn, uniform in zip((area, np.log(ratio)), (grid[0], np.log(grid[1])), strict=True):
        deviation = drawn.std() / np.sqrt(len(drawn))
        assert abs(drawn.mean() - uniform[fits].mean()) < 3 * deviation
    # Their places are uniform.
    for place, room in ((left, 500 - w), (top, 375 - h)):
        share = (place[room > 20] / room[room > 20]).astype(float)
        assert abs(share.mean() - 0.5) < 0.02 and share.min() < 0.02 and share.max() > 0.98


def test_an_image_too_long_for_any_ratio_is_cropped_in_the_middle():
    left, top, w, h = draw_rectangles(1000, 10, count=3)
    assert set(zip(left, top, w, h, strict=True)) == {((1000 - 13) // 2, 0, 13, 10)}


def test_a_random_crop_is_a_resized_rectangle():
    image = decode(make_jpeg(3), "")
    box = pictures.draw_rectangle(*image.size, 0.08, np.random.default_rng(7))
    by_hand = image.crop(box).resize((12, 12), Image.Resampling.BILINEAR)
    assert (random_crop(image, np.random.default_rng(7), size=12) == np.asarray(by_hand)).all()


def read_batches(data_dir, first=0, workers=0, seed=0, size=12, epochs=2):
    data = load("imagenet", data_dir, size=size, workers=workers)
    order = TrainingOrder(seed, len(data.train), BATCH, epochs)
    with closing(data.train.batches(order, first=first)) as ahead:
        return [copy(batch) for batch in ahead]


def copy(batch):
    return {name: np.array(column) for name, column in batch.items()}


def are_equal(one, other):
    assert one.keys() == other.keys()
    return all((one[name] == other[name]).all() for name in one)


def test_epochs_have_each_image_at_most_once_with_new_crops(converted):
    found = read_batches(converted)
    assert len(found) == 2 * (16 // BATCH)
    assert {batch["image"].shape for batch in found} == {(BATCH, 12, 12, 3)}
    assert {batch["image"].dtype for batch in found} == {np.dtype(np.uint8)}
    assert {batch["label"].dtype for batch in found} == {np.dtype(np.int32)}
    images = [image.tobytes() for batch in found for image in batch["image"]]
    assert len(set(images)) == len(images) == 30
    for epoch in (found[:5], found[5:]):
        labels = np.concatenate([batch["label"] for batch in epoch])
        assert all(np.bincount(labels, minlength=3) <= [5, 4, 7]) and len(labels) == 15


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Convert a source whose last training image is damaged; return both folders."""
    folder = tmp_path_factory.mktemp("damaged")
    source = write_archives(folder / "source")
    archive = source / "ILSVRC2012_img_train.tar"
    last = make_training_images()[15][2]
    archive.write_bytes(archive.read_bytes().replace(last, break_huffman_tables(last)))
    array_records.convert(plan(source), folder / "data", workers=1)
    return source, folder / "data"


def read_until_error(data_dir, workers):
    """Return the batches before the damaged image, which is in the 13th, and the error for it."""
    data = load("imagenet", data_dir, size=12, workers=workers)
    order = TrainingOrder(1, len(data.train), BATCH, epochs=3)
    found = []
    with pytest.raises(UserError) as error, closing(data.train.batches(order)) as ahead:
        found += (copy(batch) for batch in ahead)
    return found, str(error.value)


def test_workers_change_no_batch_and_no_error_and_end_with_the_iterator(damaged):
    _, data_dir = damaged
    here, error = read_until_error(data_dir, workers=0)
    elsewhere, same_error = read_until_error(data_dir, workers=2)
    assert len(here) == len(elsewhere) == 12 and same_error == error
    assert all(map(are_equal, here, elsewhere))
    assert multiprocessing.active_children() == []


def test_reading_can_resume_at_any_batch(converted):
    whole = read_batches(converted)
    for first in (1, 5, 7, 10):
        rest = read_batches(converted, first)
        assert len(rest) == len(whole) - first
        assert all(map(are_equal, rest, whole[first:]))
    # More epochs append batches and change none.
    assert all(map(are_equal, whole, read_batches(converted, epochs=3)))
    assert not are_equal(whole[0], read_batches(converted, seed=1)[0])


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_sequential_order_reads_images_once_and_weights_padding_zero(converted, batch_size):
    data = load("imagenet", converted, size=12)
    order = SequentialOrder(len(data.test), batch_size)
    found = list(data.test.batches(order))
    assert len(found) == -(-5 // batch_size)
    image, label = (np.concatenate([batch[name] for batch in found]) for name in ("image", "label"))
    weight = order.weight.ravel()
    assert weight.tolist() == [1] * 5 + [0] * (len(weight) - 5)
    for i in range(5):
        expected = data.test.read(i, np.random.default_rng())
        assert (image[i] == expected[0]).all() and label[i] == expected[1]


def test_a_damaged_image_raises_an_error_with_its_record(damaged):
    source, out = damaged
    shard = out / "train-00000-of-00001.array_record"
    _, error = read_until_error(out, workers=0)
    assert f"{shard}: record 15 is not a complete image" in error
    assert "Delete this file and repeat" in error and "--verify" in error
    incomplete = shutil.copytree(out, out.with_name("incomplete"))
    (incomplete / shard.name).unlink()
    with pytest.raises(UserError, match="n15075141_6.JPEG at byte"):
        array_records.convert(plan(source), incomplete, workers=1, decoded=True)


def test_the_place_of_a_record_is_its_file_and_number(tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet_source, "CLASSES_A_SHARD", 1)
    source = write_archives(tmp_path / "source")
    out = tmp_path / "out"
    manifest = array_records.convert(plan(source), out, workers=1)
    found = array_records.ImageRecords(out, manifest, "train")
    places = [found[i].place.removeprefix(f"{out}/train-0000") for i in (0, 4, 5, 8, 9, 15)]
    ends = [(0, 0), (0, 4), (1, 0), (1, 3), (2, 0), (2, 6)]  # Five, four and seven images.
    assert places == [f"{file}-of-00003.array_record: record {i}" for file, i in ends]


def test_the_error_without_converted_data_has_the_command(tmp_path):
    with pytest.raises(DataNotFound, match=r"python -m pit_jax prepare imagenet .*--out") as error:
        load("imagenet", tmp_path)
    assert str(tmp_path / "imagenet" / "manifest.json") in str(error.value)


@pytest.mark.parametrize("key, least, value", [("size", 1, 0), ("workers", 0, -1)])
def test_sizes_and_workers_out_of_range_are_refused(tmp_path, key, least, value):
    with pytest.raises(UserError, match=rf"config\.data\.{key} must be at least {least}"):
        load("imagenet", tmp_path, **{key: value})


def test_shards_that_differ_from_the_manifest_are_refused(tmp_path):
    out = tmp_path / "data"
    array_records.convert(plan(write_archives(tmp_path / "source")), out, workers=1)
    shard = out / json.loads((out / "manifest.json").read_text())["files"][0]
    raw = shard.read_bytes()
    for damage in (raw[:-1], b""):
        shard.write_bytes(damage)
        with pytest.raises(UserError, match=f"expected {len(raw)} bytes, got {len(damage)}"):
            load("imagenet", out)
    shard.unlink()
    with pytest.raises(UserError, match="only this file is written again"):
        load("imagenet", out)
    (out / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="manifest.json is damaged or of another version"):
        load("imagenet", out)


def test_classes_are_numbered_by_name():
    assert list(CLASSES) == sorted(CLASSES)
    assert [label for label, _ in itertools.groupby(make_training_images(), lambda x: x[0])] == [
        0,
        1,
        2,
    ]


def test_crops_follow_least_area_resize_and_resample(converted):
    data = load("imagenet", converted, size=12, least_area=0.9, resize=13, resample="bicubic")
    place, _, content = data.train.read.args[0][3]
    image, smooth = decode(content, place), Image.Resampling.BICUBIC
    box = pictures.draw_rectangle(*image.size, 0.9, np.random.default_rng(5))
    assert (box[2] - box[0]) * (box[3] - box[1]) > 0.85 * image.width * image.height
    by_hand = np.asarray(image.crop(box).resize((12, 12), smooth))
    assert (data.train.read(3, np.random.default_rng(5))[0] == by_hand).all()
    place, _, content = data.test.read.args[0][0]
    image = decode(content, place)
    shorter = min(image.size)
    image = image.resize((13 * image.width // shorter, 13 * image.height // shorter), smooth)
    left, top = (round((side - 12) / 2) for side in image.size)
    by_hand = np.asarray(image.crop((left, top, left + 12, top + 12)))
    assert (data.test.read(0, np.random.default_rng())[0] == by_hand).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"least_area": 0.0}, "config.data.least_area must be more than 0, got 0.0"),
        ({"least_area": 1.5}, "config.data.least_area must be at most 1, got 1.5"),
        ({"resize": 200}, "config.data.resize must be 0 or at least size, 224, got 200"),
        ({"resample": "nearest"}, "config.data.resample is 'nearest'; it can be bicubic, bilinear"),
    ],
)
def test_invalid_crop_options_are_refused_with_the_allowed_values(converted, options, message):
    with pytest.raises(UserError, match=message):
        load("imagenet", converted, **options)


def test_repeats_of_a_sample_have_different_crops(converted):
    data = load("imagenet", converted, size=12)
    order = TrainingOrder(0, len(data.train), 6, epochs=2, repeats=3)
    found = list(data.train.batches(order))
    once = next(data.train.batches(dataclasses.replace(order, repeats=1)))
    batch = found[0]
    assert (
        batch["label"][:2].tolist() == batch["label"][2:4].tolist() == batch["label"][4:].tolist()
    )
    crops = batch["image"].reshape(3, 2, -1)
    assert all((crops[i] != crops[j]).any(axis=1).all() for i, j in ((0, 1), (0, 2), (1, 2)))
    # The first crop equals the crop without repeats.
    assert (crops[0] == once["image"][:2].reshape(2, -1)).all()
    for step in (3, 0):
        seeds = [order.crop_seed(step, row) for row in range(6)]
        assert are_equal(found[step], data.train.take(order.indices(step), seeds))
