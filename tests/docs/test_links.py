"""Every page that a file mentions exists, and the front page leads to every page and answer."""

import re
from pathlib import Path

import pytest

from tests.docs.anchors import slugify

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEXT = {".cfg", ".json", ".md", ".py", ".sbatch", ".sh", ".toml", ".txt", ".yml"}
LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]*)?\)")
# What newcomers ask, the link of the front page that they would choose, and words of the answer,
# which are in the first screen of the page or of the section that the link leads to.
QUESTIONS = [
    ("How do I train on my own images?", "train on my own images", "config.data.data_dir"),
    ("How do I continue a run?", "continue a run", "repeat the command"),
    ("How do I get the spikes of layer 3?", "get the spikes of layer 3", "trace("),
    ("What does D mean?", "what D, T, a and λ mean", "levels"),
    ("How do I deploy without Python?", "deploy without Python", "--format onnx"),
]
SCREEN = 40
# These tests name pages that do not exist, to test that such names are found.
SAMPLES = {Path(__file__).with_name(f"test_{name}.py") for name in ("links", "outside", "site")}


def list_text_files() -> list[Path]:
    folders = ("benchmarks", "configs", "docs", "examples", "pit_jax", "scripts", "tests", "train")
    files = [*ROOT.glob("*"), *(file for name in folders for file in (ROOT / name).rglob("*"))]
    files += (ROOT / ".github").rglob("*.*")
    return [file for file in files if file.is_file() and file.suffix in {*TEXT, ""}]


def find_missing(text: str) -> list[str]:
    pages = re.findall(r"\bdocs/[\w/-]+\.md\b", text)
    return [page for page in pages if not (ROOT / page).is_file()]


def test_every_page_that_a_file_mentions_exists():
    missing = {}
    for file in list_text_files():
        if file not in SAMPLES and (pages := find_missing(file.read_text(errors="ignore"))):
            missing[str(file.relative_to(ROOT))] = pages
    assert not missing


def test_a_missing_page_is_found():
    assert find_missing("See docs/index.md and docs/decisions.md.") == ["docs/decisions.md"]


def list_links(page: Path) -> set[str]:
    """Return the pages of docs/ to which a page links."""
    targets = [(page.parent / path).resolve() for path, _ in LINK.findall(page.read_text()) if path]
    inside = [target for target in targets if target.is_relative_to(DOCS)]
    return {target.relative_to(DOCS).as_posix() for target in inside}


def test_every_page_is_at_most_two_clicks_from_the_front_page():
    first = list_links(DOCS / "index.md")
    pages = [page for page in first if page.endswith(".md")]
    second = set().union(*(list_links(DOCS / page) for page in pages))
    written = {
        page.relative_to(DOCS).as_posix()
        for ending in ("md", "ipynb")
        for page in DOCS.rglob(f"*.{ending}")
    }
    assert written - first - second - {"index.md"} == set()


def test_every_guide_is_one_click_from_the_front_page():
    guides = {f"guide/{page.name}" for page in (DOCS / "guide").glob("*.md")}
    assert guides - list_links(DOCS / "index.md") == set()


def read_section(page: Path, anchor: str) -> list[str]:
    """Return the lines of a page from the heading with an anchor on."""
    lines = page.read_text().splitlines()
    if not anchor:
        return lines
    for number, line in enumerate(lines):
        if line.startswith("#") and slugify(line.lstrip("# ")) == anchor.removeprefix("#"):
            return lines[number:]
    raise AssertionError(f"{page} has no heading {anchor}")


@pytest.mark.parametrize("question, words, answer", QUESTIONS, ids=[q for q, *_ in QUESTIONS])
def test_questions_of_newcomers_are_answered_one_click_from_the_front_page(question, words, answer):
    front = (DOCS / "index.md").read_text()
    (link,) = re.findall(rf"\[{re.escape(words)}\]\(([^)#]+)(#[^)]*)?\)", front)
    section = read_section(DOCS / link[0], link[1])
    assert answer.lower() in "\n".join(section[:SCREEN]).lower(), question
