"""Print the section of CHANGELOG.md of a release: python scripts/release_notes.py v0.1.0

Exits with 2 if the tag is not the version of the package, or if the changelog has no such section.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def read_notes(tag: str, version: str, changelog: str) -> str:
    """Return the section of a version.

    Raises ValueError if the tag is of another version, or the section is missing or has no date.
    """
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, but pit_jax/__init__.py has {version}.")
    sections = re.split(r"^## ", changelog, flags=re.M)
    found = [each for each in sections if each.startswith(f"[{version}]")]
    if not found or not re.match(r"\[[^\]]+\] - \d{4}-\d{2}-\d{2}\n", found[0]):
        raise ValueError(f"CHANGELOG.md needs a section `## [{version}] - YYYY-MM-DD`.")
    return found[0].partition("\n")[2].strip() + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print the notes, or an error."""
    package = (ROOT / "pit_jax" / "__init__.py").read_text()
    version = re.search(r'^__version__ = "(.*)"', package, re.M)
    assert version
    try:
        if len(arguments) != 1:
            raise ValueError(f"give the tag of the release, such as v{version[1]}.")
        notes = read_notes(arguments[0], version[1], (ROOT / "CHANGELOG.md").read_text())
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(notes, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
