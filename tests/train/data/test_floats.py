"""Float images of a user's own data set in augmentation, train.check and train.export."""

import jax
import numpy as np
import pytest

from tests.helpers import jit_once
from tests.train.tiny import get_config
from train.check import contact_sheet, throughput
from train.check.samples import check_counts, make_table
from train.data.own import make_dataset
from train.errors import UserError
from train.evaluate.folder import read_own_images
from train.export.compile_run import find_largest_input, normalize_images
from train.program.inputs import make_normalize, make_prepare

IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype(np.float32)
LABELS = np.arange(8) % 4


def make(images=IMAGES, name="mine:floats"):
    return make_dataset(name, {"train": (images, LABELS), "test": (images / 2, LABELS)})


def prepare(dataset, **augment):
    config = get_config()
    config.augment = augment
    batch = dataset.train.take(range(8))
    return np.asarray(jit_once(make_prepare(config, dataset))(jax.random.key(0), batch)[0])


def test_float_images_are_not_normalized():
    assert np.array_equal(make_normalize(make())(IMAGES), IMAGES)
    assert np.array_equal(prepare(make(), pad=0, flip=False), IMAGES)
    assert np.array_equal(normalize_images(make(), IMAGES), IMAGES)


def test_float_images_are_flipped_and_shifted_over_zeros():
    flipped = prepare(make(), pad=0, flip=True)
    for image, changed in zip(IMAGES, flipped, strict=True):
        assert np.array_equal(changed, image) or np.array_equal(changed, image[:, ::-1])
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for image, changed in zip(padded, prepare(make(), pad=1, flip=False), strict=True):
        places = [(row, column) for row in range(3) for column in range(3)]
        assert any(np.array_equal(image[r : r + 6, c : c + 6], changed) for r, c in places)


@pytest.mark.parametrize(
    "augment",
    [
        {"cutout": {"size": 2, "fill": "black"}},
        {"erase": {"probability": 0.5, "fill": "noise"}},
        {"mix": {"name": "mixup", "alpha": 0.5}},
    ],
)
def test_other_stages_accept_float_images(augment):
    assert prepare(make(), **augment).dtype == np.float32


def test_policies_refuse_float_images():
    with pytest.raises(UserError, match="augment.policy needs uint8 images; floats has float32"):
        prepare(make(), policy={"name": "autoaugment"})


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_contact_sheet_scales_floats_from_black_to_white(channels):
    dataset, config = make(IMAGES[..., :channels]), get_config()
    config.augment = {"pad": 0, "flip": False}
    picture = throughput.draw_sheet(config, dataset).axes[0].images[0].get_array()
    if channels != 2:
        assert picture[:6].min() == 0 and picture[:6].max() == 1
    assert np.allclose(picture[:6], picture[7:13], atol=1e-6)  # Nothing was augmented.


def test_frames_of_one_channel_are_drawn_dark():
    frames = np.zeros((1, 2, 4, 4, 1))
    frames[0, 0, 0, 0] = 3
    figure = contact_sheet.draw_frames("title", contact_sheet.Samples(frames, [frames], [0]))
    picture = figure.axes[0].images[0].get_array()
    assert (picture[0, 0] < 0.25).all() and (picture[1, 1] == 1).all()
    assert "orange" not in figure.get_suptitle()


def test_own_data_sets_are_not_compared_with_published_ones_of_their_name():
    dataset = make(name="mine:mnist")
    assert len(check_counts(dataset)) == 1 and check_counts(dataset, own=True) == []
    assert make_table(dataset).row_count == 1 + make_table(dataset, own=True).row_count


def test_the_largest_input_is_an_absolute_value():
    assert find_largest_input(make(-abs(IMAGES))) == abs(IMAGES).max()
    assert find_largest_input(make(abs(IMAGES))) == abs(IMAGES).max()


def test_image_files_cannot_be_evaluated_by_a_network_for_floats(tmp_path):
    with pytest.raises(UserError, match="--folder needs a network for pixels 0 to 255; floats has"):
        read_own_images(tmp_path, make())
