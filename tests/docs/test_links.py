"""Every docs page that a file mentions exists, and the overview links to all pages."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = {".cfg", ".json", ".md", ".py", ".sbatch", ".sh", ".toml", ".txt", ".yml"}


def list_text_files() -> list[Path]:
    folders = ("benchmarks", "configs", "docs", "examples", "pit_jax", "scripts", "tests", "train")
    files = [*ROOT.glob("*"), *(file for name in folders for file in (ROOT / name).rglob("*"))]
    return [file for file in files if file.is_file() and file.suffix in {*TEXT, ""}]


def find_missing(text: str) -> list[str]:
    pages = re.findall(r"\bdocs/[\w/-]+\.md\b", text)
    return [page for page in pages if not (ROOT / page).is_file()]


def test_every_page_that_a_file_mentions_exists():
    missing = {}
    for file in list_text_files():
        if file != Path(__file__) and (pages := find_missing(file.read_text(errors="ignore"))):
            missing[str(file.relative_to(ROOT))] = pages
    assert not missing


def test_a_missing_page_is_found():
    assert find_missing("See docs/index.md and docs/decisions.md.") == ["docs/decisions.md"]


def test_the_overview_links_to_every_page_except_single_networks_and_experiments():
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    networks = {page for page in pages if page.startswith("networks/")} - {"networks/index.md"}
    experiments = {page for page in pages if page.startswith("evidence/")}
    assert linked == pages - networks - experiments - {"index.md"}
