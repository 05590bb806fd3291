"""Check the built site: links, anchors, and that no page loads anything from another host."""

import re
from html.parser import HTMLParser
from pathlib import Path
from posixpath import dirname, join, normpath
from urllib.parse import unquote, urlsplit

# Attributes whose value the browser loads by itself. Only the reader follows a link in <a>.
LOADED = {
    ("audio", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("link", "href"),
    ("script", "src"),
    ("source", "src"),
    ("video", "src"),
}
# Relations of <link> that the browser does not load.
RELATIONS = {"canonical", "prev", "next", "alternate"}
IN_STYLES = re.compile(r"url\(\s*[\"']?(?!data:|#)([^)\"']+)|@import\s+[\"']([^\"']+)")


class Targets(HTMLParser):
    """The anchors of a page, its links, and what it loads."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the anchors and addresses of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        for name, value in values.items():
            if (tag, name) in LOADED and values.get("rel") not in RELATIONS:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def read_targets(page: Path) -> Targets:
    """Return the anchors and links of an HTML file."""
    targets = Targets()
    targets.feed(page.read_text(encoding="utf-8"))
    return targets


def check_site(site: Path) -> list[str]:
    """Return a line for each fault of the pages in `site`, and an empty list without faults."""
    pages = {path.relative_to(site).as_posix(): path for path in sorted(site.rglob("*.html"))}
    # The links of this page are absolute, because a server shows it at any address.
    pages.pop("404.html", None)
    targets = {name: read_targets(path) for name, path in pages.items()}
    anchors = {name: found.anchors for name, found in targets.items()}
    faults = []
    for name, found in targets.items():
        for address in found.links:
            if fault := check_link(site, name, address, anchors):
                faults.append(f"{name}: {fault}")
        for address in found.loaded:
            if fault := check_loaded(site, name, address, anchors):
                faults.append(f"{name}: {fault}")
    return faults + check_styles(site)


def check_link(site: Path, page: str, address: str, anchors: dict[str, set[str]]) -> str:
    """Return what is wrong with a link, or an empty text.

    Args:
        site: folder of the site.
        page: path of the page below `site`.
        address: the address, as the page has it.
        anchors: the anchors of each page.
    """
    scheme, host, path, _, anchor = urlsplit(address)
    if scheme or host:
        return ""
    if path.startswith("/"):
        return f"{address} works at the root of a server only; use a relative link"
    target = normpath(join(dirname(page), unquote(path))) if path else page
    if (site / target).is_dir():
        return f"{address} leads to a folder; link to a file"
    if target.startswith("..") or not (site / target).is_file():
        return f"{address} leads to no file"
    if anchor and target in anchors and unquote(anchor) not in anchors[target] | {"__top"}:
        return f"{address} leads to no heading"
    return ""


def check_loaded(site: Path, page: str, address: str, anchors: dict[str, set[str]]) -> str:
    """Return what is wrong with an address that the browser loads, or an empty text."""
    if address.startswith("data:") or not address:
        return ""
    if urlsplit(address).scheme or urlsplit(address).netloc:
        return f"{address} is loaded from another host"
    return check_link(site, page, address, anchors)


def check_styles(site: Path) -> list[str]:
    """Return a line for each style sheet that loads something from another host."""
    faults = []
    for path in sorted(site.rglob("*.css")):
        for found in IN_STYLES.findall(path.read_text(encoding="utf-8")):
            address = next(filter(None, found))
            if urlsplit(address).scheme or urlsplit(address).netloc:
                faults.append(f"{path.relative_to(site)}: {address} is loaded from another host")
    return faults
