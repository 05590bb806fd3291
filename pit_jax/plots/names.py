"""Names in scripts that the font of a figure does not have."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from matplotlib import font_manager

NOTE = "Numbered classes have names in a script without an installed font, such as Noto Sans CJK."
# Categories of characters that are not drawn: controls, formats, lone surrogates, separators.
UNDRAWN = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")


class FittedNames(NamedTuple):
    """Names that can be drawn with the fonts `families`, and a note about those that cannot.

    The latter become "class 3", their places in the list. The note is empty if there are none.
    """

    texts: list[str]
    families: list[str]
    note: str


def fit_names(names: Sequence[str]) -> FittedNames:
    """Return names as this machine's fonts can draw them."""
    families, missing = find_fonts("".join(names))
    texts = [f"class {i}" if missing & set(name) else name for i, name in enumerate(names)]
    return FittedNames(texts, families, NOTE if missing else "")


def find_fonts(text: str) -> tuple[list[str], set[str]]:
    """Return font families for the characters of a text, and the characters that none has.

    The default family is the first; others follow only where it lacks characters.
    """
    properties = font_manager.FontProperties()
    families = list(properties.get_family())
    missing = {c for c in text if unicodedata.category(c) not in UNDRAWN}
    missing -= _read_characters(font_manager.findfont(properties))
    if missing:  # Only now, because reading all fonts takes a while.
        for entry in _list_regular():
            if found := missing & _read_characters(entry.fname):
                families.append(entry.name)
                missing -= found
    return families, missing


def _list_regular() -> Iterable[font_manager.FontEntry]:
    """Return the upright fonts of normal weight, which are those that a family's name selects."""
    # The font Last Resort has a box for each character.
    return [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular")
        if "Last Resort" not in entry.name
    ]


@cache
def _read_characters(file: str) -> frozenset[str]:
    """Return the characters of a font; an empty set if it cannot be read."""
    try:
        return frozenset(map(chr, font_manager.get_font(file).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()
