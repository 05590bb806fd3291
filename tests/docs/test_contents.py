"""Contents of docs/theory list headings and pages; the front page cites the paper."""

import re
from pathlib import Path

import pytest

from tests.docs.anchors import slugify

THEORY = Path(__file__).parents[2] / "docs" / "theory"
FRONT = "docs/index.md"


def read_contents(page: str) -> tuple[list[str], list[str]]:
    """Return the anchors that a page lists above its first section, and those of its sections."""
    text = re.sub(r"^```.*?^```", "", (THEORY / page).read_text(), flags=re.M | re.S)
    above, _, below = text.partition("\n## ")
    headings = re.findall(r"^##+ (.+)$", "## " + below, re.M)
    return re.findall(r"\(#([\w-]+)\)", above), [slugify(title) for title in headings]


@pytest.mark.parametrize("page", ["decisions.md", "inference.md"])
def test_the_contents_of_a_page_are_its_headings_in_order(page):
    listed, headings = read_contents(page)
    assert listed == headings
    assert len(set(headings)) == len(headings)


def test_the_first_page_of_the_paper_links_to_all_its_pages():
    text = (THEORY / "index.md").read_text()
    linked = set(re.findall(r"\((\w+\.md)", text))
    assert linked == {page.name for page in THEORY.glob("*.md")} - {"index.md"}


def test_the_front_page_cites_the_paper_as_readme_does():
    readme, front = (Path(THEORY.parents[1], page).read_text() for page in ("README.md", FRONT))
    (entry,) = re.findall(r"```bibtex\n.*?```", front, re.S)
    assert entry in readme


@pytest.mark.parametrize(
    "title, anchor",
    [
        ("Eqs. 1 to 3: the LIF neuron", "eqs-1-to-3-the-lif-neuron"),
        ("`dis(x)`: floor or ceiling", "disx-floor-or-ceiling"),
        ("√D or D", "d-or-d"),
        ("a / b", "a-b"),
    ],
)
def test_anchors_equal_the_anchors_of_the_site(title, anchor):
    assert slugify(title) == anchor
