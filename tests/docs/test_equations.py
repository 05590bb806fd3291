"""docs/theory/equations.md: all equations of the paper, with functions and tests that exist."""

import ast
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.anchors import slugify

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "theory" / "equations.md"
TEXT = PAGE.read_text()
LAST = 44  # The paper's last numbered equation.
LINK = re.compile(r"\[`([\w.]+)`\]\(([^)\s#]+)(?:#([\w.]+))?\)")


class Section(NamedTuple):
    """A section about the equations `numbers`, with its links (name, target, anchor)."""

    title: str
    numbers: list[int]
    text: str
    links: list[tuple[str, str, str]]


def read_numbers(text: str) -> list[int]:
    """Return the numbers of `Eqs. 4 to 6`, `1-3`, `16 and 18`, `3, 11` or `Eq. 7`."""
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    joined = re.search(r"\d (?:to|-) ?\d|\d-\d", text)
    return list(range(numbers[0], numbers[-1] + 1)) if joined else numbers


def read_sections(text: str) -> list[Section]:
    sections = []
    for part in re.split(r"^### ", text, flags=re.M)[1:]:
        title, _, rest = part.partition("\n")
        rest = re.split(r"^## ", rest, flags=re.M)[0]
        numbers = read_numbers(title.partition(":")[0])
        sections.append(Section(title, numbers, rest, LINK.findall(rest)))
    return sections


SECTIONS = read_sections(TEXT)
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)


def list_tests(section: Section) -> list[tuple[str, str]]:
    return [(name, target) for name, target, _ in section.links if "/tests/" in target]


def list_functions(section: Section) -> list[tuple[str, str, str]]:
    """Return the functions of a section: name, target, and the dotted name to import."""
    functions = []
    for name, target, anchor in section.links:
        if "/tests/" in target:
            continue
        if target.startswith("../../"):
            module = target.removeprefix("../../").removesuffix(".py").replace("/", ".")
            anchor = f"{module}:{name}"
        functions.append((name, target, anchor))
    return functions


@cache
def list_defined_tests(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_page_has_every_equation_once_in_the_papers_order():
    formulas = "\n".join(re.findall(r"```text\n(.*?)```", TEXT, re.S))
    assert [int(n) for n in re.findall(r"^\((\d+)\)", formulas, re.M)] == list(range(1, LAST + 1))


@each_section
def test_a_section_has_the_formulas_of_its_title_a_function_and_a_test(section):
    formulas = "".join(re.findall(r"```text\n(.*?)```", section.text, re.S))
    assert [int(n) for n in re.findall(r"^\((\d+)\)", formulas, re.M)] == section.numbers
    assert list_functions(section) and list_tests(section)


@each_section
def test_the_tests_of_a_section_exist(section):
    for name, target in list_tests(section):
        path = (PAGE.parent / target).resolve()
        assert path.is_relative_to(ROOT / "tests") and name in list_defined_tests(path), name


@each_section
def test_the_functions_of_a_section_exist(section):
    for name, target, dotted in list_functions(section):
        assert (PAGE.parent / target).is_file(), target
        found = pkgutil.resolve_name(dotted)
        assert callable(found) and dotted.endswith(name), name


def test_functions_that_name_an_equation_are_in_its_section():
    of_number = {n: each for each in SECTIONS for n in each.numbers}
    checked = 0
    for name, _, dotted in {each for section in SECTIONS for each in list_functions(section)}:
        function = pkgutil.resolve_name(dotted)
        if not inspect.isclass(function):
            for named in re.findall(r"\(Eqs?\. ([^)]+)\)", inspect.getdoc(function) or ""):
                for number in read_numbers(named):
                    assert name in {link[0] for link in of_number[number].links}, (name, number)
                    checked += 1
    assert checked > 10


def test_the_table_at_the_top_links_to_every_section_in_order():
    table = TEXT.partition("\n## ")[0]
    assert re.findall(r"\(#([\w-]+)\)", table) == [slugify(section.title) for section in SECTIONS]


def test_numbers_are_read_from_titles_and_docstrings():
    assert read_numbers("Eqs. 4 to 6") == [4, 5, 6]
    assert read_numbers("Eqs. 16 and 18") == [16, 18]
    assert read_numbers("1-3") == [1, 2, 3]
    assert read_numbers("3, 11") == [3, 11]
    assert read_numbers("Eq. 7") == [7]
