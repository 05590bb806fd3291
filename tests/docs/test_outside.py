"""Links from pages to files outside docs/ lead to files, and the site has copies of them."""

import re
from pathlib import Path

from docs._build.site import outside
from docs._build.site.build import Pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def test_every_relative_link_of_a_page_leads_to_a_file():
    missing = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in [ROOT / "README.md", *PAGES]
        for link in outside.find_links(page.relative_to(ROOT).as_posix(), page.read_text())
        if not (ROOT / link).exists()
    ]
    assert missing == []


def test_every_record_of_a_benchmark_that_a_page_names_is_a_link():
    bare = re.compile(r"(?<!\[)`benchmarks/[\w/.-]+\.json`")
    found = {str(page.relative_to(DOCS)): bare.findall(page.read_text()) for page in PAGES}
    assert {page: names for page, names in found.items() if names} == {}


def test_links_are_found_outside_code_only():
    text = (
        "[a](../../benchmarks/a.json#b), [b](../guide/c.md)\n```\n[c](d.md)\n```\n[e](https://f.g)"
    )
    assert outside.find_links("docs/theory/x.md", text) == ["benchmarks/a.json", "docs/guide/c.md"]


def test_links_lead_to_the_places_of_files_in_the_site():
    page, place = "docs/theory/x.md", outside.place
    text = "[a](../../benchmarks/a.json#b) [c](../start/d.ipynb#e) [f](../../tests/conftest.py)"
    assert outside.replace_links(page, text, place) == (
        "[a](../source/benchmarks/a.json#b) [c](../start/d.md#e) "
        "[f](../source/tests/conftest.py.md)"
    )
    assert place("examples/spike_driven") == "source/examples/spike_driven"
    assert place("docs/_build/site/build.py") == "source/docs/_build/site/build.py.md"


def test_files_outside_docs_are_copied_and_code_becomes_a_page(tmp_path):
    pages = Pages(tmp_path)
    text = "[a](../../benchmarks/dig200.json) [b](../../configs/digits.py) [c](../../SETUP.md)"
    (tmp_path / "theory").mkdir()
    pages.add_page("docs/theory/x.md", text)
    record = tmp_path / "source/benchmarks/dig200.json"
    assert record.read_bytes() == (ROOT / "benchmarks/dig200.json").read_bytes()
    shown = (tmp_path / "source/configs/digits.py.md").read_text()
    assert (ROOT / "configs/digits.py").read_text() in shown and "exclude: true" in shown
    assert pages.faults == ["docs/theory/x.md: there is no SETUP.md"]
