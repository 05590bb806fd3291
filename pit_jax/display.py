"""Print names that users chose (paths, classes, labels, layers) as text and nothing else.

A name is never a control sequence in a terminal, mathematics in a figure, a formula in a CSV file
or a tag in Jupyter. HTML pages are escaped by their templates; `train/terminal.py` has the console
without markup.
"""

import html
import re
import sys
from collections.abc import Sequence
from typing import Any

# C0 and C1 without tab and newline, separators of lines, marks that reverse the rest of a line, and
# lone surrogates, which stand for bytes that are not UTF-8. Joiners of emoji stay.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Spreadsheets calculate cells that begin so, also after blanks; ＝ … ＠ are full-width forms.
FORMULA = re.compile(r"[\t\n]|[\s\ufeff]*[=+\-@＝＋－＠]")
NEGATIVE = re.compile(r"-(\d+(\.\d*)?(e[+-]?\d+)?%?|inf|nan)", re.IGNORECASE)

# Paths come from command lines, config pages and the configs of runs, and every message may have
# one: so this is shared by all of the process (`note_path`).
_of_several_lines: set[str] = set()


def escape_controls(text: object) -> str:
    r"""Return `text` with control characters as escapes such as `\x1b`; newline and tab stay."""
    return CONTROLS.sub(_escape, str(text))


def show_name(name: object) -> str:
    r"""Return a name in one line: like `escape_controls`, and newline and tab become `\n`, `\t`."""
    return escape_controls(re.sub("[\n\t]", _escape, str(name)))


def show_value(value: object) -> str:
    """Return a value for an error: its `repr`, in one line and cut after 60 characters."""
    try:
        # NumPy's arrays have a line for each row.
        text = show_name(re.sub(r"\s*\n\s*", " ", repr(value)))
    except Exception:  # Raised by a user's class, or for an integer of thousands of digits.
        text = f"a value of the type {show_name(type(value).__name__)}"
    return text if len(text) <= 60 else f"{text[:60]}…"


def escape_math(name: object) -> str:
    """Return a name for a text of matplotlib, which would typeset text between two dollars.

    A zero-width space is put before a leading `_`, because legends skip labels that begin with it.
    """
    shown = escape_controls(name).replace("$", r"\$")
    return f"\u200b{shown}" if shown.startswith("_") else shown


def escape_formula(cell: Any) -> Any:
    """Return a cell of a CSV file; a text that a spreadsheet would calculate gets a leading '.

    Numbers, and texts that are negative numbers, stay.
    """
    if not isinstance(cell, str):
        return cell
    cell = escape_controls(cell)
    return f"'{cell}" if FORMULA.match(cell) and not NEGATIVE.fullmatch(cell) else cell


def note_path(path: str) -> None:
    """Remember the names in a path that have newlines, for `show_text`."""
    for name in path.split("/") if "\n" in path else ():
        if "\n" in name:
            # Of a name of newlines alone, every end of a line would be replaced.
            _of_several_lines.add(name if name.strip() else f"/{name}")


def show_text(text: object) -> str:
    r"""Return lines for a terminal: like `escape_controls`, with noted paths in one line."""
    shown = str(text)
    for name in sorted(_of_several_lines, key=len, reverse=True):
        shown = shown.replace(name, show_name(name))
    return escape_controls(shown)


def print_text(text: object, file: Any = None, *, flush: bool = False) -> None:
    """Print lines that may have names in them, as `show_text` returns them."""
    print(show_text(text), file=file or sys.stdout, flush=flush)


def html_lines(text: object) -> str:
    """Return lines as HTML for Jupyter, in a font of fixed width and without wrapping."""
    return f"<pre>{html.escape(escape_controls(text))}</pre>"


def html_table(rows: Sequence[Sequence[str]], left: int) -> str:
    """Return rows, whose first is the head, as an HTML table for Jupyter.

    The first `left` columns are left-aligned, as texts are, and the others right-aligned.
    """
    lines = ["<table>"]
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        sides = ["left"] * left + ["right"] * (len(row) - left)
        cells = [
            f'<{tag} style="text-align: {side}">{html.escape(escape_controls(cell))}</{tag}>'
            for cell, side in zip(row, sides, strict=True)
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table>"])


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
