"""The picture of README tiles channels in order."""

import numpy as np

from docs._build.spikes import PICTURE, tile_channels


def test_channels_are_tiled_row_by_row_at_least_twice_as_wide_as_high():
    layer = np.arange(2 * 2 * 8).reshape(2, 2, 8)
    tiled = tile_channels(layer)
    assert tiled.shape == (4, 8)
    for channel in range(8):
        row, column = divmod(channel, 4)
        part = tiled[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert (part == layer[..., channel]).all()
    assert tile_channels(np.zeros((8, 8, 24))).shape == (24, 64)


def test_the_picture_is_small_and_shown_by_readme_and_front_page():
    assert PICTURE.stat().st_size < 100_000
    root = PICTURE.parents[2]
    assert "](docs/images/spikes.png)" in (root / "README.md").read_text()
    assert "](images/spikes.png)" in (root / "docs" / "index.md").read_text()
