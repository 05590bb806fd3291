"""Build the site into site/.

Zensical reads Markdown in one folder and nothing else, so docs/ is copied to a folder below build/
first: notebooks become Markdown, and files outside docs/ to which pages link are copied. Then all
links of what Zensical built are checked, and it replaces site/.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml  # type: ignore[import-untyped]

from docs._build.site import outside
from docs._build.site.links import check_site
from docs._build.site.notebooks import convert_notebook
from docs._build.site.repository import link_colab, read_address

ROOT = Path(__file__).parents[3]
SKIPPED = {"_build", "__pycache__", "locks"}
# Pages that the search should not find: generated lists and copies of code.
UNSEARCHED = ("evidence/", f"{outside.FOLDER}/")
# Zensical, mkdocstrings and griffe print these before a fault; the last two do not stop a build.
WARNING = re.compile(r"\b(?:WARNING|ERROR|[Ww]arning:|[Ee]rror:)|^(?:griffe|mkdocstrings): ", re.M)
COLOR = re.compile(r"\x1b\[[0-9;]*m")
# Without a prompt, highlighters take each line of a console for output, which has a single color.
CONSOLE = re.compile(r"^( *)```console\n(.*?)^\1```$", re.M | re.S)
PROMPT = re.compile(r"^ *(?:\$|>>>) ", re.M)
HIDDEN = "---\nsearch:\n  exclude: true\n---\n\n"


class Pages:
    """The folder that Zensical reads, and the methods that fill it."""

    def __init__(self, folder: Path, address: str = "") -> None:
        """Start with no page.

        Args:
            folder: folder for the pages; it may not exist.
            address: address of the repository, if it has one.
        """
        self.folder = folder
        self.address = address
        self.faults: list[str] = []
        self._outside: set[str] = set()

    def add_docs(self) -> None:
        """Add all pages and files of docs/, and the files outside to which they link."""
        for path in list_docs():
            self.add(path.relative_to(ROOT).as_posix())

    def add(self, path: str) -> None:
        """Add a file, given its path from the root, and the files to which it links."""
        source, target = ROOT / path, self.folder / outside.place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            self.add_page(path, source.read_text(encoding="utf-8"))
        elif source.suffix == ".ipynb":
            self.add_notebook(path)
        elif outside.is_outside(path) and source.suffix.strip(".") in outside.LANGUAGES:
            target.write_text(HIDDEN + outside.show_code(path), encoding="utf-8")
        else:
            shutil.copyfile(source, target)

    def add_notebook(self, path: str) -> None:
        """Add a notebook as a page, with its figures and the file itself."""
        text, figures = convert_notebook(ROOT / path)
        folder = (self.folder / outside.place(path)).parent
        for name, content in figures.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        shutil.copyfile(ROOT / path, folder / Path(path).name)
        title, _, rest = text.strip().partition("\n")
        self.add_page(path, f"{title}\n\n{link_colab(self.address, path)}{rest}")

    def add_page(self, path: str, text: str) -> None:
        """Write the Markdown of a page, and add the files outside docs/ to which it links."""
        for link in outside.find_links(path, text):
            if (self.folder / outside.place(link)).exists():
                continue  # It was added, or is a figure of a notebook, which docs/ does not have.
            if not (ROOT / link).exists():
                self.faults.append(f"{path}: there is no {link}")
            elif outside.is_outside(link):
                self._add_outside(path, link)
        place = outside.place(path)
        text = color_commands(outside.replace_links(path, text, outside.place))
        hidden = HIDDEN if place.startswith(UNSEARCHED) else ""
        (self.folder / place).write_text(hidden + text, encoding="utf-8")

    def _add_outside(self, page: str, link: str) -> None:
        if (ROOT / link).is_dir():
            link = f"{link}/README.md"
        if not (ROOT / link).is_file():
            self.faults.append(f"{page}: {link} is not a file; link to a file")
        elif link not in self._outside:
            self._outside.add(link)
            self.add(link)


def color_commands(text: str) -> str:
    """Return Markdown in which blocks of commands without prompts are colored as programs."""

    def rename(block: re.Match[str]) -> str:
        is_session = PROMPT.search(block[2])
        return block[0] if is_session else block[0].replace("```console", "```bash", 1)

    return CONSOLE.sub(rename, text)


def list_docs() -> Iterator[Path]:
    """Yield the files of docs/ that the site has."""
    for path in sorted((ROOT / "docs").rglob("*")):
        parts = set(path.relative_to(ROOT).parts)
        if path.is_file() and path.suffix != ".py" and not parts & SKIPPED:
            yield path


def make_config(address: str = "") -> dict[str, Any]:
    """Return the settings of mkdocs.yml for the folder that Zensical reads."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": "docs", "site_dir": "site", "nav": place_pages(config["nav"])}
    python = config["plugins"]["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(ROOT)]
    python["options"]["extensions"] = [
        str(ROOT / path) for path in python["options"].get("extensions", [])
    ]
    if address:
        config |= {"repo_url": address, "repo_name": address.rpartition("/")[2]}
    return config


def place_pages(nav: Any) -> Any:
    """Return a navigation with the pages that notebooks become, and without missing pages."""
    if isinstance(nav, list):
        return [placed for entry in nav if (placed := place_pages(entry))]
    if isinstance(nav, dict):
        ((title, entry),) = nav.items()
        placed = place_pages(entry)
        return {title: placed} if placed else None
    if (ROOT / "docs" / nav).is_dir():
        return list_folder(ROOT / "docs" / nav)
    return outside.place(f"docs/{nav}") if (ROOT / "docs" / nav).is_file() else None


def list_folder(folder: Path) -> list[dict[str, str]]:
    """Return the pages of a folder of docs/ by the first words of their titles, Table 3 first."""
    pages = {}
    for path in folder.glob("*.md"):
        title = path.read_text(encoding="utf-8").partition("\n")[0].strip("# ").partition(":")[0]
        pages[title] = path.relative_to(ROOT / "docs").as_posix()
    kinds = {"Table": 0, "Figure": 1}

    def rank(title: str) -> tuple[int, int]:
        return kinds.get(title.split()[0], 2), int("0" + re.sub(r"\D", "", title))

    return [{title: pages[title]} for title in sorted(pages, key=rank)]


def list_pages(nav: Any) -> Iterator[str]:
    """Yield the pages and folders that a navigation names."""
    entries = nav.values() if isinstance(nav, dict) else nav
    for entry in entries:
        yield from [entry] if isinstance(entry, str) else list_pages(entry)


def check_navigation() -> list[str]:
    """Return a line for each page that mkdocs.yml names but docs/ lacks."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return [
        f"mkdocs.yml: there is no docs/{page}"
        for page in list_pages(config["nav"])
        if not (ROOT / "docs" / page).exists()
    ]


def build(address: str) -> list[str]:
    """Build site/, and return a line for each fault."""
    (ROOT / "build").mkdir(exist_ok=True)
    # A folder of its own, so that two builds at a time do not mix.
    with TemporaryDirectory(prefix="site-", dir=ROOT / "build") as name:
        folder = Path(name)
        pages = Pages(folder / "docs", address)
        pages.add_docs()
        (folder / "mkdocs.yml").write_text(yaml.safe_dump(make_config(address), sort_keys=False))
        faults = check_navigation() + pages.faults
        printed, status = run_zensical(folder)
        print(printed, flush=True)
        if status:
            return [*faults, "Zensical stopped, see above"]
        if WARNING.search(printed):
            faults.append("Zensical or mkdocstrings printed a warning, see above")
        faults += check_site(folder / "site")
        shutil.rmtree(ROOT / "site", ignore_errors=True)
        (folder / "site").rename(ROOT / "site")
    return faults


def run_zensical(folder: Path) -> tuple[str, int]:
    """Build the project in `folder`, and return what was printed and the exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "-f", folder / "mkdocs.yml"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return COLOR.sub("", done.stdout), done.returncode


def main() -> int:
    """Build the site, report its faults, and return the exit status."""
    start = time.monotonic()
    faults = build(read_address())
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print(f"Built site/ in {time.monotonic() - start:.0f} s; open site/index.html.")
    return 1 if faults else 0
