"""A page of HTML that needs nothing beside itself: tables, and figures as SVG within it."""

import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

# By its first line a page is known as one that the same program may replace.
MARK = "<!doctype html><!-- made by python -m train.{} -->\n"
# Drawings of more bytes, such as surfaces, are shown as pixels.
MOST_DRAWN = 400_000
# Figures are drawn in it, and browsers replace it by the color of the text: black, or light.
INK = "#010203"
STYLE: Any = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "boxplot.medianprops.color"), INK),
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "svg.fonttype": "none",  # Text stays text: it can be searched and selected.
    "svg.hashsalt": "train.report",  # The same figure gives the same bytes.
    "text.parse_math": False,  # A dollar in the name of a run is one.
}
SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
CSS = """
:root { color-scheme: light dark; --line: #d5d9de; --dim: #5a6470; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3c434b; --dim: #9aa5b1; }
  body { background: #181b1f; color: #e3e6ea; }
  svg { filter: brightness(1.3); }
}
body { margin: 0 auto; max-width: 56rem; padding: 1rem 1.5rem 4rem;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.35rem; margin: 0 0 .3rem; }
h3 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; }
section { border-top: 2px solid var(--line); margin-top: 2.5rem; padding-top: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: left;
         vertical-align: top; }
td { max-width: 24rem; overflow-wrap: break-word; }
th { font-weight: 600; } th[scope=row] { color: var(--dim); font-weight: 400; white-space: nowrap; }
p.dim, figcaption { color: var(--dim); margin: .2rem 0; font-size: .9rem; }
figure { margin: .5rem 0; } svg, img { display: block; max-width: 100%; height: auto; }
details { margin-top: .6rem; } summary { cursor: pointer; }
nav ul { padding-left: 1.2rem; }
@media print { details { display: block; } section { break-before: page; } }
"""


def page(title: str, body: Iterable[str], program: str) -> str:
    """The whole document, by `program`. The policy in it forbids browsers to load anything."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'{MARK.format(program)}<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def is_page(file: Path, program: str) -> bool:
    """Whether `program` made this file."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return opened.readline() == MARK.format(program)
    except OSError:
        return False


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Cells are texts, escaped here; the first of a row names it."""
    lines = []
    if header:
        cells = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in header)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def section(name: str, title: str, content: Iterable[str]) -> str:
    """A part of the page that `links` can lead to."""
    return f'<section id="{name}">\n{heading(title, 2)}\n' + "\n".join(content) + "\n</section>"


def heading(text: str, level: int = 3) -> str:
    """A title within the page."""
    return f"<h{level}>{escape(text)}</h{level}>"


def links(to: Iterable[tuple[str, str]]) -> str:
    """The sections of the page by name, with their titles."""
    lines = [f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title in to]
    return "<nav><ul>\n" + "\n".join(lines) + "\n</ul></nav>"


def details(summary: str, content: str) -> str:
    """Content that shows itself when the summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def paragraph(text: str) -> str:
    """A remark, less prominent than the rest."""
    return f'<p class="dim">{escape(text)}</p>'


def picture(name: str, caption: str, draw: Callable[[], Figure], *, math: bool = False) -> str:
    """What `draw` gives, in the colors of the page; `name` is its own on the page.

    With `math`, dollars in texts enclose mathematics, as the labels of logarithmic axes have them.
    """
    with matplotlib.rc_context({**STYLE, "text.parse_math": math}):
        written = io.BytesIO()
        draw().savefig(written, format="svg", metadata={"Date": None})
    if len(written.getvalue()) > MOST_DRAWN:
        return _pixels(caption, draw)
    root = ElementTree.fromstring(written.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{{{SVG}}}metadata":
                parent.remove(child)
        _change(parent, name)
    root.set("role", "img")
    root.set("aria-label", caption)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", LINK)
    drawn = ElementTree.tostring(root, encoding="unicode")
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _pixels(caption: str, draw: Callable[[], Figure]) -> str:
    """What `draw` gives as it is printed, black on white."""
    written = io.BytesIO()
    draw().savefig(written, format="png", dpi=150)
    source = f"data:image/png;base64,{b64encode(written.getvalue()).decode()}"
    shown = f'<img src="{source}" alt="{escape(caption)}">'
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"


def _change(element: ElementTree.Element, name: str) -> None:
    """Gives ids of its own, since figures number their parts alike, and the color of the page."""
    for key, value in element.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == f"{{{LINK}}}href":
            element.set(key, re.sub("^#", f"#{name}-", value))
        else:
            own = value.replace("url(#", f"url(#{name}-")
            element.set(key, own.replace(INK, "currentColor"))
