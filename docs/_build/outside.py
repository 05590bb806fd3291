"""A hook of mkdocs for links from a page to files outside docs/, such as records and tests.

Such a link is relative, so it works wherever the repository is shown. The site has a copy of the
file at its path in the repository.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
TARGET = re.compile(r"(?<=\]\()\.\./[^)\s#]+")


def find_outside(page: str, text: str) -> list[str]:
    """Return the paths of the files outside docs/ to which `page` links, from the root.

    Args:
        page: path of the page below docs/, such as `theory/decisions.md`.
        text: its Markdown.
    """
    paths = [normpath(join("docs", dirname(page), link)) for link in TARGET.findall(text)]
    return [path for path in paths if not path.startswith(("docs/", ".."))]


def point_to_copies(page: str, text: str) -> str:
    """Return the Markdown of `page` with links outside docs/ that lead to copies in the site."""

    def replace(link: re.Match[str]) -> str:
        found = find_outside(page, f"]({link[0]})")
        return relpath(found[0], dirname(page) or ".") if found else link[0]

    return TARGET.sub(replace, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside docs/ to which pages link; mkdocs reports those that are missing."""
    urls = config.use_directory_urls
    for file in list(files.documentation_pages()):
        for path in find_outside(file.src_uri, file.content_string):
            if (ROOT / path).is_file() and files.get_file_from_path(path) is None:
                # mkdocs.yml excludes Python files inside docs/ only.
                always = InclusionLevel.INCLUDED
                files.append(File(path, str(ROOT), config.site_dir, urls, inclusion=always))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links outside docs/ to the copies."""
    return point_to_copies(page.file.src_uri, markdown)
