"""A parser of the HTML pages that programs write."""

import re
from base64 import b64decode
from collections import Counter, defaultdict
from html.parser import HTMLParser

# Attributes that make a browser load something.
LOADING = {"src", "href", "xlink:href", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """A parsed page: sections with their texts and figures, ids, table cells and references.

    `figures` has the drawings for the light theme by section: the text of an SVG, "" for a PNG.
    `references` has all links except embedded images.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.sections: dict[str, str] = {}
        self.figures: dict[str, list[str]] = defaultdict(list)
        self.cells: list[str] = []
        self._section, self._cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        values = {name: value or "" for name, value in attributes}
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.figures[self._section].append(decode(values["src"]))
        found = [value for name, value in values.items() if name in LOADING]
        self.references += [each for each in found if not is_image(each)]
        self.references += re.findall(r"url\((.*?)\)", " ".join(values.values()))
        if tag == "section":
            self._section = values["id"]
        if tag in ("td", "th"):
            self._cell = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if self._cell:
            self.cells[-1] += data


def is_image(reference: str) -> bool:
    return re.fullmatch(r"data:image/(svg\+xml|png);base64,[A-Za-z0-9+/=]+", reference) is not None


def decode(image: str) -> str:
    """Return the text of an SVG image, or "" for another format."""
    kind, _, content = image.partition(";base64,")
    return b64decode(content).decode() if kind == "data:image/svg+xml" else ""
