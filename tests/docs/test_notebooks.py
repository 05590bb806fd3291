"""docs/start: the tutorials as committed. `make notebooks` executes them."""

import json
import re
from pathlib import Path

import pytest
import yaml

from docs._build.site.build import list_pages
from docs._build.site.notebooks import convert_notebook, fence_outputs

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs/start").glob("*.ipynb"))
MOST_BYTES = 1_500_000
# Paths of the machine that executed them, and speeds and times, which differ each time.
CHANGING = re.compile(
    r"/(?:tmp|home|root|work|Users|usr|var)/|0x[0-9a-f]{6,}|images/s|wall time|-packages"
)


def read_cells(path: Path, kind: str) -> list[dict]:
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def list_texts(output: dict) -> list[str]:
    """Return what an output shows as text."""
    data = output.get("data", {"text/plain": output.get("text", [])})
    return ["".join(data.get(kind, [])) for kind in ("text/plain", "text/html")]


def test_there_are_nine_small_notebooks():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 10)]
    assert sum(path.stat().st_size for path in NOTEBOOKS) < MOST_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_cells_were_executed_once_in_order_without_errors(path):
    cells = read_cells(path, "code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert "error" not in {output["output_type"] for output in outputs}
    notes = [list_texts(output)[0] for output in outputs if output.get("name") == "stderr"]
    assert [text for text in notes if "warning" in text.lower()] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_have_neither_paths_of_a_machine_nor_times(path):
    cells = read_cells(path, "code")
    texts = [text for cell in cells for output in cell["outputs"] for text in list_texts(output)]
    assert [found[0] for text in texts if (found := CHANGING.search(text))] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_pages(path):
    text = "".join("".join(cell["source"]) for cell in read_cells(path, "markdown"))
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (path.parent / link).is_file()] == []


def test_the_site_shows_each_notebook():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    shown = [page for page in list_pages(nav) if page.endswith(".ipynb")]
    assert shown == [f"start/{path.name}" for path in NOTEBOOKS]


def test_outputs_of_cells_are_fenced_and_code_and_lists_are_unchanged():
    text = "```python\ndef f():\n\n    return 1\n```\n\n    1\n\n      2\n\n\n- a\n- b\n"
    fenced = "```text\n1\n\n  2\n```"
    assert fence_outputs(text).replace("\n\n", "\n").count("```text") == 1
    assert fenced in fence_outputs(text)
    assert fence_outputs(text).startswith(text[: text.index("    1")].rstrip("\n"))


@pytest.mark.parametrize("path", NOTEBOOKS[:1], ids=lambda path: path.stem)
def test_a_notebook_becomes_a_page_with_its_figures(path):
    text, figures = convert_notebook(path)
    assert text.lstrip().startswith("# ")
    assert figures and all(f"({name})" in text for name in figures)
    assert all(content.startswith(b"\x89PNG") for content in figures.values())
