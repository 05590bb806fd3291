"""Pages of an experiment, made from its records only: Markdown, CSV, LaTeX and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import write_atomically
from ..figures import write_figure
from .content import Content, make_page
from .figure import draw_means, save_png
from .latex import format_tables
from .markdown import format_page
from .spreadsheet import format_csv

if TYPE_CHECKING:
    from configs.scales import Experiment


def write_pages(
    experiment: "Experiment",
    records: Mapping[str, Mapping[str, Any]],
    seeds: int | None,
    out: Path,
    *,
    scale: str,
) -> list[Path]:
    """Write NAME.md, NAME.csv, NAME.tex and NAME.png of an experiment to `out`; return the files.

    `records` are the records of the cases by label; cases may have none yet. `seeds` replaces the
    number of seeds that the cases name. The same records give the same bytes. The picture of a
    table shows its means, of a figure what the paper's figure shows; some tables have a second one,
    NAME_levels.png. There is no picture without a number to draw.
    """
    name = experiment.name
    page = make_page(experiment, records, seeds, scale)
    pictures = [*_draw_means(page, out), *write_figure(experiment, records, out, seeds)]
    files = {
        f"{name}.md": format_page(page, [picture.name for picture in pictures]),
        f"{name}.csv": format_csv(page),
        f"{name}.tex": format_tables(page),
    }
    for file, content in files.items():
        write_atomically(out / file, content)
    return [*(out / file for file in files), *pictures]


def _draw_means(page: Content, out: Path) -> list[Path]:
    # The picture of a figure shows other measures, which `write_figure` draws.
    figure = None if page.experiment.analysis else draw_means(page)
    if figure is None:
        return []
    file = out / f"{page.experiment.name}.png"
    write_atomically(file, save_png(figure))
    return [file]
