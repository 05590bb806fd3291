"""The page of pictures has code and a picture for each function; test_blocks.py runs the code."""

import re

from docs._build.plots import PAGE, PICTURES, read_blocks, run_blocks
from pit_jax import plots


def test_every_function_has_a_block_that_calls_it_and_its_picture():
    page = PAGE.read_text()
    blocks = read_blocks(page)
    assert sorted(blocks) == plots.__all__
    for name, block in blocks.items():
        assert f"plots.{name}(" in block and f'"{name}.' in block
        compile(block, name, "exec")
    shown = re.findall(r"\]\(\.\./images/plots/(.*?)\)", page)
    assert sorted(shown) == sorted(file.name for file in PICTURES.iterdir())
    assert {name.partition(".")[0] for name in shown} == set(plots.__all__)


def test_blocks_run_in_their_folder_each_by_itself(tmp_path):
    page = "# Page\n\n## one\n\n```python\nx = 1\nopen('a', 'w').close()\n```\n\n## two\n\ntext\n"
    blocks = read_blocks(page + "\n## three\n\n```python\nassert 'x' not in globals()\n```\n")
    run_blocks(blocks, tmp_path)
    assert list(blocks) == ["one", "three"] and [file.name for file in tmp_path.iterdir()] == ["a"]
