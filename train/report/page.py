"""An HTML page that needs no other file and no network: tables, and figures embedded as images.

`parts` has the macros of parts.html, which return HTML: `parts.table(header, rows)`.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from ..html import make_templates, mark_page

# Larger SVG drawings, such as surfaces, are embedded as PNG.
MOST_DRAWN = 400_000
# An embedded image cannot take the color of the surrounding text. So figures are drawn in the color
# INK, which nothing else has, and INK is replaced by the color for light or dark pages.
INK, ON_LIGHT, ON_DARK = "#010203", "#000000", "#e3e6ea"
STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "boxplot.medianprops.color"), INK),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "svg.fonttype": "none",  # Text stays text, which is smaller than outlines of letters.
    "svg.hashsalt": "train.report",  # The same figure has the same bytes.
}


_templates = make_templates(Path(__file__).parent)
parts: Any = _templates.get_template("parts.html").module


def render_page(title: str, body: Iterable[str], program: str) -> str:
    """Return the HTML document, marked as made by `program`."""
    page = _templates.get_template("page.html")
    return page.render(mark=mark_page(program), title=title, body=body)


def show_figure(caption: str, draw: Callable[[], Figure]) -> str:
    """Return HTML with the figure that `draw` returns, in the colors of the page."""
    with matplotlib.rc_context(STYLE):
        drawn = _save(draw(), format="svg", metadata={"Date": None}).decode()
    if len(drawn) > MOST_DRAWN:  # As pixels, black on white.
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
