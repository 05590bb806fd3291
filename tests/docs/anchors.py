"""Anchors of headings in Markdown."""

import re
import unicodedata


def slugify(title: str) -> str:
    """Return the anchor of a heading on the site.

    Other renderers of Markdown have the same, unless a sign stands alone between two spaces.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
