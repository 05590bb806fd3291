"""Writes an analysis to files: figures, tables and its part of the page."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup

from pit_jax.display import escape_formula
from pit_jax.old_names import ANALYSES, print_note

from ..errors import UserError
from ..files import replace_file, write_atomically
from ..report.page import parts, show_figure
from ..run.reading import read_json
from .subject import Analysis, Table

# Written last: without this file the analysis was not finished.
PART = "part.json"
KINDS = ("png", "svg", "csv")
# Rows of a table on the page; its file has all of them.
MOST_ROWS = 300
# Text stays text, and equal figures are equal files.
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "train.analyze"}


def rename_old(folder: Path) -> None:
    """Rename the folder of an analysis with an old name to `folder`, unless that exists."""
    for old, new in ANALYSES.items():
        if new == folder.name and folder.with_name(old).is_dir() and not folder.exists():
            print_note(str(folder.with_name(old)), str(folder))
            replace_file(folder.with_name(old), folder)


def read_part(folder: Path) -> dict[str, Any]:
    """Return `of`, `title`, `html` and any `printed` as `write` saved them; empty if unfinished.

    Raises UserError for a damaged file.
    """
    part: dict[str, Any] = read_json(folder / PART, dict) or {}
    if part and not (
        isinstance(part.get("of"), list)
        and all(isinstance(part.get(key), str) for key in ("title", "html"))
        and _is_lines(part.get("printed", []))
    ):
        raise UserError(f"{folder / PART} is damaged; give --overwrite, or delete {folder}.")
    return part | {"html": Markup(part["html"])} if part else {}


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def begin(folder: Path) -> None:
    """Mark the analysis in `folder` as not finished, until `write`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PART).unlink(missing_ok=True)


def write(folder: Path, found: Analysis, of: Sequence[Mapping[str, Any]], note: str) -> None:
    """Write figures as PNG and SVG, tables as CSV, and the part of the page, which ends in `note`.

    `of` identifies the analyzed runs. Files of these kinds from earlier calls are deleted.
    """
    # An earlier version may have had other figures or tables.
    for old in (old for kind in KINDS for old in folder.glob(f"*.{kind}")):
        old.unlink()
    for name, drawn in found.figures.items():
        figure = drawn.draw()
        for kind in ("png", "svg"):
            content = io.BytesIO()
            # Without a date, equal figures are equal files.
            with matplotlib.rc_context(SVG):
                about = {"Date": None} if kind == "svg" else {}
                figure.savefig(content, format=kind, dpi=150, metadata=about)
            write_atomically(folder / f"{name}.{kind}", content.getvalue())
    for name, table in found.tables.items():
        write_atomically(folder / f"{name}.csv", format_csv(table))
    html = "\n".join([*_render(found), parts.paragraph(note)])
    part: dict[str, Any] = {"of": of, "title": found.title, "html": html}
    if found.printed:
        part["printed"] = list(found.printed)
    write_atomically(folder / PART, json.dumps(part, indent=1))


def _render(found: Analysis) -> Iterator[str]:
    yield from map(parts.paragraph, found.remarks)
    for drawn in found.figures.values():
        yield show_figure(drawn.caption, drawn.draw)
    for name, table in found.tables.items():
        shown = parts.table(table.header, map(_format_row, table.rows[:MOST_ROWS]))
        if (more := len(table.rows) - MOST_ROWS) > 0:
            shown += parts.paragraph(f"{more:,} more rows are in {name}.csv.")
        yield parts.details(name.replace("_", " "), shown)


def _format_row(row: Any) -> list[str]:
    return [f"{cell:.5g}" if _is_float(cell) else "–" if cell is None else cell for cell in row]


def _is_float(cell: Any) -> bool:
    # Python's and NumPy's integers have `is_integer` as well, but floats have no `bit_count`.
    return hasattr(cell, "is_integer") and not hasattr(cell, "bit_count")


def format_csv(table: Table) -> str:
    """Return the content of the CSV file of a table."""
    lines = io.StringIO()
    rows = ([escape_formula(cell) for cell in row] for row in [table.header, *table.rows])
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue()
