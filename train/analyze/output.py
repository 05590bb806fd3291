"""What an analysis found as files: figures, tables and its part of the page."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from pit_jax.old_names import ANALYSES, print_note

from ..files import write_atomically
from ..report import page
from ..run.reading import read_json
from .subject import Analysis, Table

# Written when all else is, so that an analysis without it was not finished.
PART = "part.json"
KINDS = ("png", "svg", "csv")
# Lines of a table that the page shows; its file has all.
MOST_LINES = 300
# Text stays text, and the same figure gives the same bytes.
SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "train.analyze"}


def rename_old(folder: Path) -> None:
    """Give what an analysis wrote under its old name the folder `folder`, unless that exists."""
    for old, new in ANALYSES.items():
        if new == folder.name and folder.with_name(old).is_dir() and not folder.exists():
            print_note(str(folder.with_name(old)), str(folder))
            folder.with_name(old).rename(folder)


def kept(folder: Path) -> dict[str, Any]:
    """What `write` left in `folder`: `of`, `title` and `html`; empty if it was not finished."""
    found: dict[str, Any] = read_json(folder / PART, dict) or {}
    return found


def begin(folder: Path) -> None:
    """From now on, until `write`, the analysis in `folder` is not finished."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PART).unlink(missing_ok=True)


def write(
    folder: Path, found: Analysis, name: str, of: Sequence[Mapping[str, Any]], note: str
) -> None:
    """Figures as PNG and SVG, tables as CSV, and the part of the page, which ends with `note`.

    `name` begins what is referred to on the page, and `of` says what was analyzed. What an earlier
    one left of these kinds goes.
    """
    for old in (old for kind in KINDS for old in folder.glob(f"*.{kind}")):
        old.unlink()
    for each, drawn in found.figures.items():
        figure = drawn.draw()
        for kind in ("png", "svg"):
            written = io.BytesIO()
            with matplotlib.rc_context(SVG):
                about = {"Date": None} if kind == "svg" else {}
                figure.savefig(written, format=kind, dpi=150, metadata=about)
            write_atomically(folder / f"{each}.{kind}", written.getvalue())
    for each, table in found.tables.items():
        write_atomically(folder / f"{each}.csv", _lines(table))
    html = "\n".join([*_content(found, name), page.paragraph(note)])
    part = {"of": of, "title": found.title, "html": html}
    write_atomically(folder / PART, json.dumps(part, indent=1))


def _content(found: Analysis, name: str) -> Iterator[str]:
    yield from map(page.paragraph, found.remarks)
    for each, drawn in found.figures.items():
        yield page.picture(f"{name}-{each}", drawn.caption, drawn.draw, math=True)
    for each, table in found.tables.items():
        shown = page.table(table.header, map(_cells, table.rows[:MOST_LINES]))
        if (more := len(table.rows) - MOST_LINES) > 0:
            shown += page.paragraph(f"{more:,} more lines are in {each}.csv.")
        yield page.details(each.replace("_", " "), shown)


def _cells(row: Any) -> list[str]:
    return [f"{cell:.5g}" if _is_float(cell) else "–" if cell is None else cell for cell in row]


def _is_float(cell: Any) -> bool:
    return hasattr(cell, "is_integer") and not hasattr(cell, "bit_count")


def _lines(table: Table) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([table.header, *table.rows])
    return written.getvalue()
