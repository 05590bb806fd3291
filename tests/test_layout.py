"""Limits on the tree: small folders and files, short functions, imports to lower levels only."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pit_jax", "train")
# Modules may import from their own and lower levels. A module without an entry has the level of
# its folder.
LEVELS = [
    {"errors", "files", "figures", "host_memory", "html", "memory", "terminal"},
    {"config"},
    {"data"},
    {"program"},
    {"run", "records", "monitor", "distributed"},
    {"extension", "loading", "session"},
    {"loop"},
]
MOST_MODULES, MOST_LINES, MOST_FUNCTION_LINES, MOST_USUAL_LINES = 15, 400, 60, 30
# The only module of the library that imports the programs, and only inside functions.
HELPER = "pit_jax.programs"


class Import(NamedTuple):
    """An import of the module `imported` by `importer`; `late` if it is inside a function."""

    importer: str
    imported: str
    late: bool


@cache
def list_modules() -> dict[str, Path]:
    """Return the files of the packages by dotted name."""
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = file
    return found


@cache
def parse_modules() -> dict[str, ast.Module]:
    return {name: ast.parse(file.read_text()) for name, file in list_modules().items()}


@cache
def list_import_statements() -> tuple[tuple[str, ast.Import | ast.ImportFrom, bool], ...]:
    """Return module, node and `late` of every import statement, except those for type checkers."""
    return tuple(
        (name, node, late)
        for name, tree in parse_modules().items()
        for node, late in import_statements(tree)
    )


@cache
def list_imports() -> tuple[Import, ...]:
    """Return the imports between modules of the packages, except imports for type checkers."""
    return tuple(
        Import(name, target, late)
        for name, node, late in list_import_statements()
        for target in find_targets(name, node)
    )


def import_statements(tree: ast.Module) -> list[tuple[ast.Import | ast.ImportFrom, bool]]:
    found = []

    def visit(node: ast.AST, late: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                found.append((child, late))
            visit(child, late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    visit(tree, False)
    return found


def find_targets(importer: str, node: ast.Import | ast.ImportFrom) -> set[str]:
    """Return the modules of the packages that a statement imports."""
    known = list_modules()
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & known.keys()
    base = node.module or ""
    if node.level:
        package = importer.split(".")
        if known[importer].name != "__init__.py":
            package = package[:-1]
        package = package[: len(package) - node.level + 1]
        base = ".".join([*package, *filter(None, [node.module])])
    return {
        full if (full := f"{base}.{alias.name}") in known else base
        for alias in node.names
        if base in known
    }


def folder(module: str) -> str:
    return module if list_modules()[module].name == "__init__.py" else module.rpartition(".")[0]


def find_level(module: str) -> int:
    """Return the level of a module of the trainer; programs are above all levels."""
    first = module.split(".")[1] if "." in module else module
    found = [at for at, names in enumerate(LEVELS) if first in names]
    return found[0] if found else len(LEVELS)


def list_functions() -> list[tuple[str, str, int]]:
    """Return module, name and number of lines of every function, without decorators."""
    return [
        (name, node.name, (node.end_lineno or 0) - node.lineno + 1)
        for name, tree in parse_modules().items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def find_cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return a cycle of a graph, or an empty list if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for following in sorted(edges[node]):
            if cycle := visit(following, [*path, node]):
                return cycle
        done.add(node)
        return []

    return next((cycle for node in sorted(edges) if (cycle := visit(node, []))), [])


def test_a_folder_has_at_most_fifteen_modules():
    numbers: dict[str, int] = defaultdict(int)
    for file in (*list_modules().values(), *(ROOT / "docs/_build").rglob("*.py")):
        numbers[file.parent.relative_to(ROOT).as_posix()] += file.name != "__init__.py"
    assert {name: n for name, n in numbers.items() if n > MOST_MODULES} == {}


def test_no_file_is_longer_than_four_hundred_lines():
    lengths = {name: len(file.read_text().splitlines()) for name, file in list_modules().items()}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}


def test_no_function_is_longer_than_sixty_lines_and_nine_of_ten_are_under_thirty():
    lengths = list_functions()
    assert [found for found in lengths if found[2] > MOST_FUNCTION_LINES] == []
    usual = sorted(lines for *_, lines in lengths)[int(0.9 * len(lengths))]
    assert usual < MOST_USUAL_LINES


def test_modules_import_each_other_without_a_cycle():
    edges: dict[str, set[str]] = {name: set() for name in list_modules()}
    for importer, imported, late in list_imports():
        # A package runs before its modules, which may import it as a whole.
        if not late and not importer.startswith(f"{imported}."):
            edges[importer].add(imported)
    assert find_cycle(edges) == []


def test_no_two_folders_import_each_other():
    pairs = {
        (folder(importer), folder(imported))
        for importer, imported, _ in list_imports()
        if folder(importer) != folder(imported)
    }
    mutual = {
        (one, other)
        for one, other in pairs
        if (other, one) in pairs and one < other and other.rpartition(".")[0] != one
    }
    assert mutual == set()


def test_the_library_imports_the_programs_only_inside_functions_of_one_module():
    static = {
        (i.importer, i.imported)
        for i in list_imports()
        if i.importer.startswith("pit_jax") and i.imported.split(".")[0] == "train"
    }
    by_name = {
        name
        for name, tree in parse_modules().items()
        for node in ast.walk(tree)
        if name.startswith("pit_jax") and isinstance(node, ast.Call)
        if ast.unparse(node.func).endswith(("import_module", "__import__", "run_module"))
        if "train" in ast.unparse(node).lower()
    }
    assert static == set() and by_name == {HELPER}
    # Only the command and `open_run` import the helper.
    importers = {i.importer for i in list_imports() if i.imported == HELPER}
    assert importers == {"pit_jax.__main__", "pit_jax.run.folder"}


def test_imports_inside_the_trainer_are_relative():
    absolute = [
        (name, ast.unparse(node))
        for name, node, _ in list_import_statements()
        if name.startswith("train")
        if isinstance(node, ast.Import) or not node.level
        for imported in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
        if imported.split(".")[0] in ("train", "configs")
    ]
    assert absolute == []


def test_the_trainer_imports_only_lower_levels():
    upwards = {
        (i.importer, i.imported)
        for i in list_imports()
        if i.importer.startswith("train.") and i.imported.startswith("train.")
        if find_level(i.imported) > find_level(i.importer)
    }
    assert upwards == set()


def test_the_training_loop_is_short_and_nested_at_most_three_levels():
    tree = parse_modules()["train.loop"]
    assert len(list_modules()["train.loop"].read_text().splitlines()) <= 150
    deep = (ast.For, ast.While, ast.If, ast.With, ast.Try)

    def measure_depth(node: ast.AST) -> int:
        below = max((measure_depth(child) for child in ast.iter_child_nodes(node)), default=0)
        return below + isinstance(node, deep)

    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert {node.name: measure_depth(node) for node in found if measure_depth(node) > 3} == {}


def test_no_two_classes_have_the_same_name():
    places = defaultdict(list)
    for name, tree in parse_modules().items():
        if name == "pit_jax.inference.runtime.nodes":  # Its classes are always written nodes.X.
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_nodes_are_used_with_the_name_of_their_module():
    # Two modules define the same names: `nodes.Spikes` and `folded.Spikes`.
    by_name = [
        (name, ast.unparse(node))
        for name, node, _ in list_import_statements()
        if isinstance(node, ast.ImportFrom)
        if (node.module or "").split(".")[-1] in ("nodes", "folded")
    ]
    assert by_name == []


@pytest.mark.parametrize(
    "edges, cycle",
    [({"a": {"b"}, "b": set()}, []), ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"])],
)
def test_cycles_are_found(edges, cycle):
    assert find_cycle(edges) == cycle
