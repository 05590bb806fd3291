"""A page of HTML that needs no other file and no network: tables, and figures as images inside it.

`parts` has the macros of parts.html, which return HTML: `parts.table(header, rows)`.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

# By its first line a page is known as one that the same program may replace.
MARK = "<!doctype html><!-- made by python -m train.{} -->\n"
# Drawings of more bytes, such as surfaces, are shown as pixels.
MOST_DRAWN = 400_000
# Figures are drawn in this color, which nothing else has, and shown in these on light and dark
# pages: an image cannot take the color of the text around it.
INK, ON_LIGHT, ON_DARK = "#010203", "#000000", "#e3e6ea"
STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "boxplot.medianprops.color"), INK),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "svg.fonttype": "none",  # Text stays text, which is smaller than the outlines of its letters.
    "svg.hashsalt": "train.report",  # The same figure gives the same bytes.
    "text.parse_math": False,  # A dollar in the name of a run is one.
}

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
parts: Any = _templates.get_template("parts.html").module


def render_page(title: str, body: Iterable[str], program: str) -> str:
    """Return the whole document, made by `program`."""
    mark = Markup(MARK.format(program).rstrip("\n"))
    return _templates.get_template("page.html").render(mark=mark, title=title, body=body)


def is_page(file: Path, program: str) -> bool:
    """Return whether `program` made this file."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.readline() == MARK.format(program)
    except OSError:
        return False


def show_figure(caption: str, draw: Callable[[], Figure], *, math: bool = False) -> str:
    """Return the figure that `draw` returns as HTML, in the colors of the page.

    With `math`, dollars in texts enclose mathematics, as the labels of logarithmic axes have them.
    """
    with matplotlib.rc_context({**STYLE, "text.parse_math": math}):
        drawn = _save(draw(), format="svg", metadata={"Date": None}).decode()
    if len(drawn) > MOST_DRAWN:  # As it is printed: black on white.
        pixels = _encode("png", _save(draw(), format="png", dpi=150))
        return Markup(parts.figure(caption, pixels, ""))
    light, dark = (
        _encode("svg+xml", drawn.replace(f": {INK}", f": {color}").encode())
        for color in (ON_LIGHT, ON_DARK)
    )
    return Markup(parts.figure(caption, light, dark))


def _save(figure: Figure, **how: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, **how)
    return file.getvalue()


def _encode(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode()}"
