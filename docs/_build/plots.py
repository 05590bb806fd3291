"""Run the code of docs/guide/plots.md and save its pictures: python -m docs._build.plots"""

import contextlib
import re
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[1]
PAGE, PICTURES = DOCS / "guide" / "plots.md", DOCS / "images" / "plots"


def read_blocks(page: str) -> dict[str, str]:
    """Return the Python block of each section of a page that has one, by its heading."""
    sections = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    found = {
        name: re.search(r"^```python\n(.*?)^```", text, re.M | re.S) for name, text in sections
    }
    return {name: block[1] for name, block in found.items() if block}


def run_blocks(blocks: dict[str, str], folder: Path) -> None:
    """Run each block in `folder`, as a program of its own."""
    with contextlib.chdir(folder):
        for name, block in blocks.items():
            exec(compile(block, name, "exec"), {"__name__": "__main__"})


def main() -> None:
    """Write the pictures of the page."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run_blocks(read_blocks(PAGE.read_text()), Path(folder))
        for picture in sorted(Path(folder).iterdir()):
            (PICTURES / picture.name).write_bytes(picture.read_bytes())
            print(f"{picture.name}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
