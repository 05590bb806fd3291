"""Turn a notebook into a Markdown page, with the outputs that the file has."""

import re
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import MarkdownExporter

# nbconvert indents the output of a cell; a fence separates it from lists and names its language.
PRINTED = re.compile(r"^(?: {4}.*\n|\n(?= {4}))+", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


def convert_notebook(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return the Markdown of a notebook, and its figures by their path next to the page."""
    notebook = nbformat.read(path, as_version=4)
    embed_animations(notebook)
    names = {"unique_key": path.stem, "output_files_dir": "figures"}
    text, resources = MarkdownExporter().from_notebook_node(notebook, resources=names)
    return fence_outputs(text), resources["outputs"]


def embed_animations(notebook: Any) -> None:
    """Show GIFs as HTML: nbconvert would print their description instead."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if gif := output.get("data", {}).get("image/gif"):
                source = f"data:image/gif;base64,{''.join(gif.split())}"
                output.data = {"text/html": f'<img alt="an animation" src="{source}">'}


def fence_outputs(text: str) -> str:
    """Return Markdown in which indented blocks outside fences are fenced as text."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [PRINTED.sub(_fence, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, PRINTED.sub(_fence, text[end:])])


def _fence(block: re.Match[str]) -> str:
    if not block[0].strip():
        return "\n"
    lines = [line[4:] for line in block[0].strip("\n").split("\n")]
    return "\n".join(["", "```text", *lines, "```", ""]) + "\n"
