"""Links from pages to files outside docs/ lead to files, and the site has copies of them."""

import re
from pathlib import Path

from mkdocs.config import load_config
from mkdocs.structure.files import get_files

from docs._build.outside import find_outside, on_files, point_to_copies

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)")


def test_every_relative_link_of_a_page_leads_to_a_file():
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in [ROOT / "README.md", *PAGES]
        for link in LINK.findall(page.read_text())
        if not (page.parent / link).exists()
    ]
    assert missing == []


def test_every_record_of_a_benchmark_that_a_page_names_is_a_link():
    bare = re.compile(r"(?<!\[)`benchmarks/[\w/.-]+\.json`")
    found = {str(page.relative_to(DOCS)): bare.findall(page.read_text()) for page in PAGES}
    assert {page: names for page, names in found.items() if names} == {}


def test_links_outside_docs_are_found_and_lead_to_copies():
    page, text = "theory/x.md", "[a](../../benchmarks/a.json#b), [b](../guide/c.md), [c](d.md)"
    assert find_outside(page, text) == ["benchmarks/a.json"]
    assert point_to_copies(page, text) == text.replace("../../benchmarks", "../benchmarks")
    assert point_to_copies("x.md", "[a](../tests/a.py)") == "[a](tests/a.py)"
    assert find_outside("x.md", "[a](../../etc/passwd)") == []


def test_the_site_has_the_linked_records():
    config = load_config(str(ROOT / "mkdocs.yml"))
    files = on_files(get_files(config), config)
    record = files.get_file_from_path("benchmarks/dig200.json")
    assert record.content_bytes == (ROOT / "benchmarks/dig200.json").read_bytes()
