"""The results in README and docs follow from their records, and lead to them."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.claims import COMPARISONS
from configs.claims.types import Claim
from configs.scales import NAMES
from configs.scales.rows import find_printed
from docs._build.evidence import PAGES, TABLES, make_claim_row
from docs._build.outcomes import (
    EVIDENCE,
    SCALE,
    describe_outcome,
    format_difference,
    format_estimate,
    list_sentences,
    load_experiment,
)
from docs._build.tables import fill_tables, list_tables
from tests.docs.anchors import slugify
from train.reproduce.pages import write_pages
from train.reproduce.statistics import Comparison, estimate_mean
from train.reproduce.verdicts import HOLDS, NOT_SEEN, OPPOSITE, UNTESTED, Verdict

ROOT = Path(__file__).parents[2]
# A result has decimals; T x D, levels and sizes have none. Sections of the paper begin with §.
NUMBER = re.compile(r"(?<![\w.,/§])\d[\d,]*\.\d+(?![\w.]|,\d)")
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
SHOWN = {file.stem for file in EVIDENCE.glob("*.md")}
GENERATED = re.compile(r"(<!-- [^\n]* -->\n)(.*?)(<!-- its end -->)", re.S)


def read_results(page: Path) -> str:
    """Return the part of a page that has results."""
    text = page.read_text()
    if page.name == "README.md":
        text = text.partition("## Measured so far\n")[2].partition("\n## ")[0]
    return text


def list_statements(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the paragraphs, list items and table rows, each with the targets of its links.

    Those without a link have the links of their section so far.
    """
    section: list[str] = []
    for paragraph in re.split(r"\n\n|\n(?=[-|#])", text):
        if paragraph.startswith("#"):
            section = []
        links = LINK.findall(paragraph)
        section += links
        yield paragraph, links or section


def find_numbers(text: str) -> list[str]:
    return NUMBER.findall(CODE.sub("", LINK.sub("]", text)))


def walk(found: Any) -> Iterator[float]:
    """Yield all numbers in the content of a JSON file."""
    if isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from walk(each)
    elif isinstance(found, int | float):
        yield found


def is_in(number: str, page: Path, target: str) -> bool:
    """Return True if `number` is printed by the target of a link of `page`, or rounded from it."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path) if path else page
    if not file.is_file():
        return False
    if file.suffix not in (".json", ".csv"):
        text = file.read_text()
        if anchor and not path:
            headings = re.split(r"\n(?=#+ )", text)
            text = "".join(
                s for s in headings if s.startswith("#") and slugify(s.partition("\n")[0]) == anchor
            )
        return number in re.findall(NUMBER, text)
    if file.suffix == ".json":
        values = list(walk(json.loads(file.read_text())))
    else:
        cells = (cell for row in csv.reader(file.open()) for cell in row)
        values = [float(cell) for cell in cells if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)]
    digits, wanted = len(number.partition(".")[2]), number.replace(",", "")
    return any(f"{abs(scale * x):.{digits}f}" == wanted for x in values for scale in (1, 100))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_follow_from_the_records(page):
    text = page.read_text()
    assert fill_tables(text, "evidence", TABLES) == text


def test_each_table_is_shown_once():
    shown = [name for page in PAGES for name in list_tables(page.read_text(), "evidence")]
    assert sorted(shown) == sorted(TABLES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_result_leads_to_its_record(page):
    unlinked = [
        statement
        for statement, links in list_statements(read_results(page))
        if find_numbers(statement) and not links
    ]
    assert unlinked == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_number_in_the_text_is_in_a_linked_file(page):
    text = GENERATED.sub(r"\1\3", read_results(page))
    lost = [
        (number, statement)
        for statement, links in list_statements(text)
        for number in find_numbers(statement)
        if not any(is_in(number, page, link) for link in links)
    ]
    assert lost == []


def test_numbers_are_found_and_compared_with_records(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# All\n\n12.50 ± 0.10\n\n## Rows\n\n| 7.25 |\n")
    (tmp_path / "a.json").write_text('{"x": [0.12345, -3.5]}')
    text = "12.3 % ([a](a.json)), `1.5` and 1,234.5 at T = 4.\n- no link: 0.5\n\n# B\n\n0.25"
    assert find_numbers(text) == ["12.3", "1,234.5", "0.5", "0.25"]
    statements = dict(list_statements(text))
    assert statements["- no link: 0.5"] == ["a.json"] and statements["0.25"] == []
    assert is_in("12.3", page, "a.json") and is_in("3.50", page, "a.json")
    assert not is_in("12.4", page, "a.json") and not is_in("12.3", page, "b.json")
    assert is_in("7.25", page, "#rows") and not is_in("12.50", page, "#rows")


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_comparison_of_the_paper_is_a_claim(name):
    page = (ROOT / "docs/claims.md").read_text()
    assert [c.text for c in COMPARISONS[name] if c.text[1:] not in page] == []


def give(**outcomes: str) -> dict[str, Verdict]:
    """Return verdicts for readings of PIT."""
    return {f"`{reading}`": Verdict(None, outcome) for reading, outcome in outcomes.items()}


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (give(paper=HOLDS, ours=NOT_SEEN), "holds"),
        (give(paper=NOT_SEEN, ours=HOLDS), "holds with another start"),
        (
            give(paper=OPPOSITE, ours=HOLDS),
            "holds with another start; the opposite with `paper`",
        ),
        (give(paper=HOLDS, ours=OPPOSITE), "holds; the opposite with `ours`"),
        (give(paper=NOT_SEEN, ours=UNTESTED), "not seen"),
        (give(paper=OPPOSITE, ours=UNTESTED), "the opposite holds"),
        (give(paper=UNTESTED, ours=UNTESTED), "cannot be tested"),
        ({"I-LIF 1x4 − LIF 4x1": Verdict(None, HOLDS)}, "holds"),
    ],
)
def test_the_outcome_of_a_claim_depends_on_the_start(verdicts, outcome):
    assert describe_outcome(verdicts) == outcome


def test_effects_are_printed_with_their_interval_or_the_reason():
    claim = Claim("", "a", "b")
    found = Comparison(-0.004, 1.0, -0.5, 0.25, 0.5, 3)
    assert format_difference(Verdict(claim, NOT_SEEN, "", found)) == "+0.00 [−0.50, +0.25]"
    assert format_difference(Verdict(claim, UNTESTED, "seed 1 failed: x")) == "seed 1 failed: x"
    assert format_difference(Verdict(claim, UNTESTED, "seed 1 missing")) == "not run yet"
    counted = Verdict(claim._replace(measure="memory_gb"), HOLDS, "", found, exact=True)
    assert format_difference(counted) == "−0.004"
    assert format_estimate(None) == "missing"
    assert format_estimate(estimate_mean([95.0])) == "95.00"


def test_printed_differences_are_in_the_order_of_the_effects():
    """Table 5 compares four networks, each with its own printed difference."""
    (sentence,) = (each for each in list_sentences() if each.name == "table5")
    row, rows = make_claim_row(sentence), find_printed("table5")
    pairs = [tuple(rows[label]["memory_gb"] for label in pair) for pair in sentence.comparison.rows]
    assert row[2] == "<br>".join(f"{better - worse:+.2f}" for better, worse in pairs)
    shown = [effect.partition(", ")[2].split(" − ")[0] for effect in row[3].split("<br>")]
    assert shown == [better.partition(",")[0] for better, _ in sentence.comparison.rows]


def test_the_evidence_is_small_and_has_pages_of_experiments_only():
    files = [file for file in EVIDENCE.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 2e6
    assert {"table8"} <= SHOWN <= set(NAMES)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "table8" else pytest.mark.slow)
        for name in sorted(SHOWN)
    ],
)
def test_a_page_of_the_evidence_follows_from_its_records(name, tmp_path):
    experiment, records = load_experiment(name)
    written = write_pages(experiment, records, None, tmp_path, scale=SCALE)
    texts = [file for file in written if file.suffix in (".md", ".csv", ".tex")]
    assert len(texts) == 3
    for file in texts:
        assert file.read_text() == (EVIDENCE / file.name).read_text()
