"""Links from a page to files of the repository that are not pages, such as tests and records.

Such a link is relative, so it works wherever the repository is shown. In the site it leads to a
copy below `source/`: Markdown and code become pages, other files stay as they are.
"""

import re
from collections.abc import Callable
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

ROOT = Path(__file__).parents[3]
FOLDER = "source"
LANGUAGES = {
    "c": "c",
    "css": "css",
    "js": "javascript",
    "py": "python",
    "sbatch": "bash",
    "sh": "bash",
    "toml": "toml",
    "yml": "yaml",
}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)[^)\s#]+")
FENCE = re.compile(r"^ *(```|~~~)")


def find_links(page: str, text: str) -> list[str]:
    """Return the paths from the root of all files to which a page links.

    Args:
        page: path of the page from the root, such as `docs/theory/decisions.md`.
        text: its Markdown.
    """
    found: list[str] = []

    def note(path: str) -> str:
        found.append(path)
        return path

    replace_links(page, text, note)
    return found


def replace_links(page: str, text: str, find: Callable[[str], str]) -> str:
    """Return the Markdown of a page of the site, with links to the places of files in the site.

    Args:
        page: path of the page from the root.
        text: its Markdown.
        find: returns the path below the site's docs of a file, given its path from the root.
    """
    folder = dirname(place(page))

    def replace(link: re.Match[str]) -> str:
        target = normpath(join(dirname(page), link[0]))
        return relpath(find(target), folder or ".") if not target.startswith("..") else link[0]

    lines, fence = [], ""
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if mark and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        lines.append(line if fence else LINK.sub(replace, line))
    return "\n".join(lines)


def place(path: str) -> str:
    """Return the path below the site's docs of a file, given its path from the root."""
    if path.startswith("docs/") and not path.startswith("docs/_build/"):
        return path.removeprefix("docs/").replace(".ipynb", ".md")
    if (ROOT / path / "README.md").is_file():
        path = normpath(f"{path}/README.md")
    page = f"{path}.md" if path.rpartition(".")[2] in LANGUAGES else path
    return f"{FOLDER}/{page}"


def is_outside(path: str) -> bool:
    """Return whether a path from the root leads to something that docs/ does not show."""
    return place(path).startswith(f"{FOLDER}/")


def show_code(path: str) -> str:
    """Return a page that shows a file of code, given its path from the root."""
    language = LANGUAGES[path.rpartition(".")[2]]
    code = (ROOT / path).read_text(encoding="utf-8").rstrip("\n")
    fence = "~~~~" if "~~~" not in code else "~~~~~~~~"
    return f"# `{path}`\n\n{fence}{language}\n{code}\n{fence}\n"
