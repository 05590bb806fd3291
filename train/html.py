"""Pages of HTML: their templates, and the first line, which says which program made a page."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pit_jax.display import escape_controls

# The first line marks a page that the same program may replace.
MARK = "<!doctype html><!-- made by python -m train.{} -->"


def make_templates(folder: Path) -> Environment:
    """Return the templates in a folder; in values they escape HTML and control characters."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_escape,
    )


def mark_page(program: str) -> Markup:
    """Return the first line of a page that is made by `program`."""
    return Markup(MARK.format(program))


def is_page(file: Path, program: str) -> bool:
    """Return whether `file` was made by `program`."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.readline() == f"{mark_page(program)}\n"
    except OSError:
        return False


def _escape(value: Any) -> Any:
    # HTML that a macro returns is escaped already.
    return value if isinstance(value, Markup) else escape_controls(value)
