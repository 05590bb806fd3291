"""The pages of docs/reference: every public name, command and config key has its entry."""

import itertools
import logging
import re
import sys
import textwrap
from pathlib import Path

import griffe
import pytest
from mkdocstrings import Inventory

from docs._build.config_reference import SECTIONS
from docs._build.reference import COMMANDS_HEAD, FOLDER, PAGES, read_help
from pit_jax.programs import COMMANDS
from train.config.pages import list_shipped, load_page
from train.config.parts import KINDS
from train.config.sections import list_keys

ROOT = FOLDER.parents[1]
EXTENSION = "docs/_build/site/fields.py"
DIRECTIVE = re.compile(r"^::: ([\w.]+)\n((?:    .*\n)*)", re.M)
# argparse of Python 3.13 and later formats options with values in another way.
SAME_HELP = sys.version_info < (3, 13)


def load_packages(*names: str, path: Path = ROOT) -> griffe.ModulesCollection:
    """Return packages as the site reads them."""
    loader = griffe.GriffeLoader(
        extensions=griffe.load_extensions(str(ROOT / EXTENSION)),
        search_paths=[path],
        docstring_parser="google",
    )
    for name in names:
        loader.load(name, try_relative_path=False)
    loader.resolve_aliases(implicit=False)
    return loader.modules_collection


@pytest.fixture(scope="module")
def packages():
    return load_packages("pit_jax", "train")


def list_packages() -> list[str]:
    """Return the packages of library and trainer that declare public names."""
    files = [(ROOT / package).rglob("__init__.py") for package in ("pit_jax", "train")]
    return [
        ".".join(file.relative_to(ROOT).parent.parts)
        for file in sorted(itertools.chain(*files))
        if "__all__ = [" in file.read_text()
    ]


def list_directives() -> list[tuple[str, str]]:
    """Return name and options of every entry that pages ask for."""
    return [
        (found[1], found[2])
        for page in sorted(FOLDER.glob("*.md"))
        for found in DIRECTIVE.finditer(page.read_text() + "\n")
    ]


def list_entries(packages: griffe.ModulesCollection) -> set[str]:
    """Return where the objects with an entry are defined, and the modules with a page."""
    entries = {page.read_text().split("\n")[0].removeprefix("# ") for page in FOLDER.glob("*.md")}
    for name, options in list_directives():
        found = packages[name]
        entries.add(found.canonical_path)
        if found.is_module:
            chosen = re.search(r"members: \[(.*)\]", options)
            own = [name for name, each in found.members.items() if not each.is_alias]
            entries |= {f"{name}.{each}" for each in (chosen[1].split(", ") if chosen else own)}
    return entries


@pytest.fixture(scope="module")
def entries(packages):
    return list_entries(packages)


@pytest.mark.parametrize("package", list_packages())
def test_every_public_name_has_an_entry(package, packages, entries):
    names = [name for name in packages[package].exports if name != "__version__"]
    assert names
    found = {name: find_public(packages, f"{package}.{name}") for name in names}
    missing = [name for name, path in found.items() if path not in entries]
    assert missing == []


@pytest.mark.slow
def test_every_public_name_has_an_anchor_in_the_built_site(site, packages):
    with (site / "objects.inv").open("rb") as file:
        inventory = Inventory.parse_sphinx(file, domain_filter=["py"])
    for package in list_packages():
        for name in set(packages[package].exports) - {"__version__"}:
            path = find_public(packages, f"{package}.{name}")
            if packages[path].is_module and path not in inventory:
                continue  # Its page is written by hand.
            page, _, anchor = inventory[path].uri.partition("#")
            anchor = anchor.replace("$", path)
            assert f'id="{anchor}"' in (site / page).read_text(), f"{package}.{name}"


def find_public(packages: griffe.ModulesCollection, name: str) -> str:
    """Return where a public name is defined."""
    found = packages[name]
    # `convert` of `from pit_jax.interop.convert import convert` is the function, not its module.
    inner = found.members.get(found.name) if found.is_module else None
    return inner.canonical_path if inner else found.canonical_path


def test_every_entry_exists_and_is_documented(packages):
    directives = list_directives()
    assert len(directives) > 150
    assert [name for name, _ in directives if not packages[name].has_docstring] == []


def test_no_entry_is_written_twice():
    names = [name for name, _ in list_directives()]
    assert sorted(names) == sorted(set(names))


def test_every_argument_that_a_docstring_explains_is_a_parameter(packages, caplog):
    with caplog.at_level(logging.WARNING):
        for package in ("pit_jax", "train"):
            for documented in walk(packages[package]):
                assert documented.docstring.parsed is not None
    assert [record.getMessage() for record in caplog.records] == []


def walk(parent: griffe.Object) -> list[griffe.Object]:
    """Return the documented objects inside a package, except imports."""
    found = [parent] if parent.docstring else []
    for member in parent.members.values():
        if not member.is_alias:
            found += walk(member)
    return found


def test_fields_of_neurons_are_parameters_with_types_and_defaults(packages):
    pit = packages["pit_jax.neurons.PIT"]
    shown = {each.name: (str(each.annotation), str(each.default)) for each in pit.parameters}
    assert shown["levels"] == ("int", "4")
    assert shown["checkpoint_every"] == ("int | None", "None")
    assert [*shown][:3] == ["self", "levels", "decay"]
    (section,) = [each for each in pit.docstring.parsed if each.kind.value == "parameters"]
    assert {each.name for each in section.value} == shown.keys() - {"self"}
    assert all(each.annotation and each.default for each in section.value)


def format_parameter(parameter: griffe.Parameter) -> str:
    kind = f": {parameter.annotation}" * bool(parameter.annotation)
    return parameter.name + kind + f" = {parameter.default}" * bool(parameter.default)


CLASSES = """
    import flax.linen as nn
    from flax import struct
    from typing import ClassVar, NamedTuple
    from flax.linen import Module
    from jaxtyping import Array, Float


    class Base(nn.Module):
        width: int
        depth: int = 2
        KIND: ClassVar[str] = "base"

        @property
        def area(self) -> int:
            return self.width


    class Deep(Base):
        depth: int = 8
        bias: bool = True


    class Renamed(Module):
        width: int


    class Pair(NamedTuple):
        x: Float[Array, "B *N"]
        y: Float[Array, "B"] = None


    class State(struct.PyTreeNode):
        name: str = struct.field(pytree_node=False)
        size: int = struct.field(pytree_node=False, default=3)
        value: float = 0.0


    class Own(nn.Module):
        width: int

        def __init__(self, size):
            ...


    class Plain:
        width: int = 1
"""


def test_every_kind_of_class_has_the_signature_that_its_fields_make(tmp_path):
    (tmp_path / "kinds.py").write_text(textwrap.dedent(CLASSES))
    kinds = load_packages("kinds", path=tmp_path)["kinds"]
    signatures = {
        name: [format_parameter(each) for each in kinds[name].parameters][1:]
        for name in ("Base", "Deep", "Renamed", "Pair", "State", "Own", "Plain")
    }
    assert signatures == {
        "Base": ["width: int", "depth: int = 2"],
        "Deep": ["width: int", "depth: int = 8", "bias: bool = True"],
        "Renamed": ["width: int"],
        "Pair": ['x: Float[Array, "B *N"]', 'y: Float[Array, "B"] = None'],
        "State": ["name: str", "size: int = 3", "value: float = 0.0"],
        "Own": ["size"],
        "Plain": [],
    }


def test_a_page_that_a_docstring_names_becomes_a_link(packages):
    text = packages["pit_jax.neurons.PIT"].docstring.value
    title = (ROOT / "docs/theory/decisions.md").read_text().split("\n")[0].removeprefix("# ")
    assert f"[{title}](../theory/decisions.md)" in text


def test_the_site_loads_the_extension():
    assert EXTENSION in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name):
    written, made = (FOLDER / name).read_text(), PAGES[name]()
    if not SAME_HELP:
        written, made = " ".join(written.split()), " ".join(made.split())
    assert written == made, "run: python -m docs._build.reference"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_commands_has_the_help_of_every_program(name):
    page = (FOLDER / "commands.md").read_text()
    assert page.startswith(COMMANDS_HEAD)
    section = page.split(f"\n## pit-jax {name}\n")[1].split("\n## ")[0]
    assert " ".join(read_help(name, "--help").split()) in " ".join(section.split())


def test_every_section_and_shipped_config_has_a_heading():
    keys = (FOLDER / "config_keys.md").read_text()
    for what in KINDS:
        assert f"\n## {SECTIONS[what]}: {f'config.{what}' if what else 'config'}\n" in keys
    headings = re.findall(r"^## (.*)$", (FOLDER / "config_pages.md").read_text(), re.M)
    assert headings == ["Variants of the neuron", *list_shipped()]


@pytest.mark.parametrize("name", list_shipped())
def test_every_key_of_a_shipped_config_is_explained(name):
    keys = (FOLDER / "config_keys.md").read_text()
    rows = {"name", *re.findall(r"^\| `(\w+)` \|", keys, re.M)}
    assert {key.rpartition(".")[2] for key in list_keys(load_page(name).config)} <= rows


def test_the_overview_links_to_every_page():
    linked = set(re.findall(r"\]\((\w+\.md)\)", (FOLDER / "index.md").read_text()))
    assert linked == {page.name for page in FOLDER.glob("*.md")} - {"index.md"}
