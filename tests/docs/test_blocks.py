"""The Python blocks of README and docs run, each page from top to bottom in an empty folder."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from pit_jax.interop.__main__ import main as run_import
from tests.interop.published import torchvision
from tests.interop.torch_bytes import tensors, zip_file

ROOT = Path(__file__).parents[2]
# The language of each fence; what is not a program has another one than python. Programs that need
# PyTorch have `py`, and tests/docs/test_peers_pages.py runs them.
LANGUAGES = {"python", "console", "text", "json", "mermaid", "toml", "yaml", "html", "bibtex"}
LANGUAGES |= {"js", "py"}
FENCE = re.compile(r"^( *)```(.*)$", re.M)


class Block(NamedTuple):
    """A fenced block of a page; `line` is the number of its first line of code."""

    language: str
    line: int
    code: str


def read_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page in their order, without their indentation."""
    fences, blocks = list(FENCE.finditer(text)), []
    for begin, end in zip(fences[::2], fences[1::2], strict=True):
        code = text[begin.end() + 1 : end.start()]
        plain = "\n".join(line.removeprefix(begin[1]) for line in code.split("\n"))
        blocks.append(Block(begin[2], text.count("\n", 0, begin.end()) + 2, plain))
    return blocks


def list_pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def list_programs() -> list[Path]:
    pages = list_pages()
    return [page for page in pages if any(b.language == "python" for b in read(page))]


def read(page: Path) -> list[Block]:
    return read_blocks(page.read_text())


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def import_checkpoints(folder: Path) -> None:
    """Write two checkpoints with random weights, and import one with the command of the page."""
    for file, stages in (("resnet18-f37072fd", (2, 2, 2, 2)), ("resnet34-b627a593", (3, 4, 6, 3))):
        random = np.random.default_rng(0)
        arrays = {
            name: random.uniform(0.5, 1.5, shape).astype("f4") if shape else np.array(7)
            for name, shape in torchvision(stages=stages).items()
        }
        (folder / f"{file}.pth").write_bytes(zip_file(tensors(arrays)))
    words = ["resnet18-f37072fd.pth", "--model", "sew_resnet18", "--out", "imported/sew18"]
    assert run_import(words) == 0


def write_images(folder: Path) -> None:
    """Write pictures of the reader's own."""
    pixels = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    for name in ("mine.png", "photo.png"):
        Image.fromarray(pixels).save(folder / name)


# Functions that write the files that a page assumes the reader to have.
GIVEN: dict[str, Callable[[Path], None]] = {
    "docs/guide/events.md": write_images,
    "docs/guide/interop.md": import_checkpoints,
    "docs/guide/predict.md": write_images,
}
# Pages whose blocks take more than some seconds: most of it compiles.
SLOW = {
    "README.md",
    "docs/guide/analyses.md",
    "docs/guide/export.md",
    "docs/guide/from_pytorch.md",
    "docs/guide/interop.md",
    "docs/guide/plots.md",
    "docs/guide/predict.md",
    "docs/guide/runs.md",
    "docs/guide/streaming.md",
    "docs/theory/energy.md",
    "docs/theory/inference.md",
    "docs/theory/information.md",
    "docs/theory/landscape.md",
}


def run_blocks(page: str, blocks: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run some blocks one after the other, which share their names, as in one program."""
    # A page may show settings of the process.
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    # Dataclasses, which Flax modules are, look up the module of a class.
    module = ModuleType("blocks")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in blocks:
        # Empty lines ahead, so that a traceback has the line of the page.
        program = compile("\n" * (block.line - 1) + block.code, page, "exec")
        exec(program, vars(module))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name(page), marks=pytest.mark.slow if name(page) in SLOW else ())
        for page in list_programs()
    ],
)
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    GIVEN.get(name(page), lambda folder: None)(tmp_path)
    programs = [block for block in read(page) if block.language == "python"]
    # Each block of README is a program by itself.
    groups = [[block] for block in programs] if name(page) == "README.md" else [programs]
    try:
        for group in groups:
            run_blocks(name(page), group, monkeypatch)
    finally:
        plt.close("all")


@pytest.mark.parametrize("page", list_pages(), ids=name)
def test_every_block_of_a_page_names_its_language(page):
    unknown = {block.line: block.language for block in read(page)}
    assert {line: each for line, each in unknown.items() if each not in LANGUAGES} == {}


def test_blocks_are_found_with_their_lines():
    text = "a\n```python\nx = 1\n\ny = 2\n```\n\n- b\n\n  ```console\n  make\n  ```\n"
    assert read_blocks(text) == [
        Block("python", 3, "x = 1\n\ny = 2\n"),
        Block("console", 11, "make\n"),
    ]
    two = "```text\n```\n```python\nz = 3\n```"
    assert [block.code for block in read_blocks(two)] == ["", "z = 3\n"]


def test_pages_with_programs_are_those_of_the_library():
    found = {name(page) for page in list_programs()}
    assert {"README.md", "docs/index.md", "docs/guide/own_parts.md"} <= found and len(found) > 15
    assert {*SLOW, *GIVEN} <= found


def test_an_error_in_a_block_names_page_and_line(monkeypatch):
    with pytest.raises(NameError) as error:
        run_blocks("page.md", read_blocks("x\n```python\na = 1\nmodel\n```\n"), monkeypatch)
    place = error.traceback[-1]
    assert (str(place.path).rpartition("/")[2], place.lineno + 1) == ("page.md", 4)
