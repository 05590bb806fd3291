"""Print the lowest version of each library that pyproject.toml allows, as constraints for pip.

python scripts/lowest_versions.py > lowest.txt && pip install -c lowest.txt '.[train]'
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
LOWEST = re.compile(r"([\w.-]+)(?:\[[\w,-]+\])?>=([\w.]+)")


def list_lowest(pyproject: str, extra: str = "train") -> list[str]:
    """Return `NAME==VERSION` for each requirement of the library and of one extra."""
    project = tomllib.loads(pyproject)["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"][extra]]
    found = [LOWEST.match(requirement) for requirement in needed]
    if unbounded := [each for each, match in zip(needed, found, strict=True) if not match]:
        raise ValueError(f"{unbounded[0]!r} has no lowest version; write NAME>=VERSION.")
    return [f"{match[1]}=={match[2]}" for match in found if match]


if __name__ == "__main__":
    print("\n".join(list_lowest(PYPROJECT.read_text())))
