"""Draw the networks and write their tables into docs/networks.

python -m docs._build.diagrams [PAGE ...]

Pictures and tables come from the traced networks of pit_jax at their published sizes; those of the
page `inference` come from folded networks. Tests compare the committed files with the output of
this program, so run it after changing a network.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from docs._build import inference
from docs._build.pictures.drawing import draw_network
from docs._build.pictures.families import FAMILIES, Family, Picture
from docs._build.pictures.graph import make_overview, zoom
from pit_jax.models import create
from pit_jax.models.count import count_traced_layers, count_traced_totals
from pit_jax.models.published_inputs import INPUTS
from pit_jax.models.trace import Trace, trace
from pit_jax.neurons import ReLU

DOCS = Path(__file__).parents[1]
START, END = "<!-- the table of docs._build.diagrams -->\n", "<!-- its end -->"
HEADER = (
    "| network | input | classes | parameters | scales `a` | convolutions, linear layers "
    "| neuron layers | neurons | MACs | products |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
)


def main(argv: Sequence[str]) -> int:
    """Write the pages in `argv`, or all; return exit code 0, or 2 for an unknown page."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    pages = {family.page: family for family in FAMILIES}
    names = [*pages, "inference"]
    if unknown := set(argv[1:]) - set(names):
        print(f"error: unknown page {min(unknown)!r}. Use {', '.join(names)}.", file=sys.stderr)
        return 2
    for name in argv[1:] or names:
        if name == "inference":
            inference.write()
            continue
        page = DOCS / "networks" / f"{name}.md"
        page.write_text(replace_table(page.read_text(), make_table(pages[name])))
        for picture in pages[name].pictures:
            get_file(picture).write_text(draw(picture))
    return 0


def get_file(picture: Picture) -> Path:
    return DOCS / "images" / "networks" / f"{picture.network}.svg"


def draw(picture: Picture) -> str:
    """Return the SVG of a network and its zooms."""
    nodes = _trace(picture.network).nodes
    zooms = [(part.caption, zoom(nodes, part.path, part.until)) for part in picture.zooms]
    return draw_network(picture.title, make_overview(nodes), zooms)


def make_table(family: Family) -> str:
    """Return the networks of a family as a Markdown table, one row each."""
    return HEADER + "".join(_make_row(name) for name in family.networks)


def replace_table(page: str, rows: str) -> str:
    """Return `page` with `rows` between its two markers."""
    before, _, rest = page.partition(START)
    return before + START + rows + END + rest.partition(END)[2]


def _make_row(name: str) -> str:
    x = INPUTS[name]
    traced = _trace(name)
    sums = count_traced_totals(traced)
    numbers = (
        x.num_classes,
        sum(sums.parameters.values()),
        # PIT has one scale for each channel of a neuron layer.
        sum(row.shape[-1] for row in count_traced_layers(traced) if row.kind == "neuron"),
        sums.layers,
        sums.neuron_layers,
        sums.neurons,
        sums.macs,
        sums.products,
    )
    shape = "×".join(map(str, x.shape))
    return f"| `{name}` | {shape} | {' | '.join(f'{n:,}' for n in numbers)} |\n"


@cache
def _trace(name: str) -> Trace:
    # One step, and ReLU because it is traced fastest: no count depends on the neuron.
    x = INPUTS[name]
    model = create(name, num_classes=x.num_classes, neuron=ReLU)
    return trace(model, x.batch(1, 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
