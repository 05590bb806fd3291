"""The repository's address, from pyproject.toml, and what the site shows when there is one."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMES = ("repository", "source", "source code", "github")  # Keys of [project.urls], in lower case.
COLAB = "https://colab.research.google.com/github/"


def read_address(pyproject: Path = ROOT / "pyproject.toml") -> str:
    """Return the address of the repository, or an empty text while it has none."""
    urls = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
    found = (url for name, url in urls.items() if name.lower() in NAMES)
    return next(found, "").rstrip("/").removesuffix(".git")


def link_colab(address: str, notebook: str) -> str:
    """Return a paragraph that opens a notebook in Colab and says what to run there first.

    Args:
        address: address of the repository. Colab opens notebooks of GitHub only.
        notebook: path of the notebook from the root.
    """
    if not address.startswith("https://github.com/"):
        return ""
    name = address.removeprefix("https://github.com/")
    return (
        f"[Open in Colab]({COLAB}{name}/blob/main/{notebook}). In its first cell, run\n\n"
        f"```python\n%pip install 'pit-jax[notebooks] @ git+{address}'\n```\n\n"
    )
