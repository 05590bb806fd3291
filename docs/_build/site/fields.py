"""An extension of griffe, which reads the source for the reference without running it.

Griffe knows the `__init__` that `@dataclass` adds but not those that Flax and `NamedTuple` add.
With this extension, which mkdocs.yml loads, the reference shows their signatures with types and
defaults, and the sections `Args:` of docstrings find their parameters. A page that a docstring
names becomes a link.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

# The base classes that make parameters of annotated fields, by the name under which they are
# defined or imported.
BASES = (
    "flax.linen.Module",
    "flax.linen.module.Module",
    "flax.struct.PyTreeNode",
    "typing.NamedTuple",
)


DOCS = Path(__file__).parents[2]
PAGE = re.compile(r"docs/([\w/]+\.md)")


class Axes(str):
    """The axes of an array, such as `B T H W C`, which Python cannot parse.

    Griffe parses a string in an annotation as code if it can, and so would print the axes "B *N" as
    a product. Code must not begin with a blank.
    """

    def __new__(cls, text: str) -> "Axes":
        return super().__new__(cls, f" {text}")

    def __repr__(self) -> str:
        return f'"{self.strip()}"'


class FieldParameters(griffe.Extension):
    """An extension that adds signatures and links, and leaves the axes of arrays unchanged."""

    def on_module_node(self, *, node: Any, **kwargs: Any) -> None:
        """Protect the axes in annotations of jaxtyping: `Float[Array, "B"]`."""
        nodes = list(ast.walk(node))
        types = {
            alias.asname or alias.name
            for each in nodes
            if isinstance(each, ast.ImportFrom) and each.module == "jaxtyping"
            for alias in each.names
        }
        for each in nodes:
            if not isinstance(each, ast.Subscript) or ast.unparse(each.value) not in types:
                continue
            for argument in ast.walk(each.slice):
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    argument.value = Axes(argument.value)

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Link the pages that a docstring names, such as docs/theory/decisions.md."""
        if obj.docstring is not None:
            obj.docstring.value = PAGE.sub(_make_link, obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Add `__init__` to the classes of a package, once all of its modules are read."""
        for found in _walk_classes(pkg):
            if "__init__" not in found.members and _makes_parameters(found):
                found.set_member("__init__", _make_init(found))


def _make_link(page: re.Match[str]) -> str:
    """Return a link from a page in docs/reference, with the title of its target."""
    file = DOCS / page[1]
    if not file.is_file():
        return page[0]
    title = file.read_text().partition("\n")[0].removeprefix("# ")
    return f"[{title}](../{page[1]})"


def _walk_classes(parent: griffe.Module | griffe.Class) -> Iterator[griffe.Class]:
    for member in list(parent.members.values()):
        if isinstance(member, griffe.Class):
            yield member
        # An alias is an import; its class is visited where it is defined.
        if isinstance(member, (griffe.Module, griffe.Class)):
            yield from _walk_classes(member)


def _list_ancestors(found: griffe.Class) -> list[griffe.Class]:
    """Return the class and its bases in this package, the most general one first."""
    return [*reversed(found.mro()), found]


def _makes_parameters(found: griffe.Class) -> bool:
    bases = (base for each in _list_ancestors(found) for base in each.bases)
    return any((base if isinstance(base, str) else base.canonical_path) in BASES for base in bases)


def _make_init(found: griffe.Class) -> griffe.Function:
    fields = {
        name: member
        for each in _list_ancestors(found)
        for name, member in each.members.items()
        if isinstance(member, griffe.Attribute) and _is_field(member)
    }
    parameters = griffe.Parameters(
        griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword),
        *(
            griffe.Parameter(
                name,
                annotation=field.annotation,
                kind=griffe.ParameterKind.positional_or_keyword,
                default=_read_default(field.value),
            )
            for name, field in fields.items()
        ),
    )
    return griffe.Function(
        "__init__", lineno=0, endlineno=0, parent=found, parameters=parameters, returns="None"
    )


def _read_default(value: str | griffe.Expr | None) -> str | griffe.Expr | None:
    """Return the default of a field, for `flax.struct.field(...)` its argument `default`."""
    if isinstance(value, griffe.ExprCall) and value.canonical_path == "flax.struct.field":
        named = [each for each in value.arguments if isinstance(each, griffe.ExprKeyword)]
        return next((each.value for each in named if each.name == "default"), None)
    return value


def _is_field(member: griffe.Attribute) -> bool:
    # Griffe labels a `ClassVar` as an attribute of the class alone.
    return (
        member.annotation is not None
        and "property" not in member.labels
        and ("class-attribute" not in member.labels or "instance-attribute" in member.labels)
    )
