"""Every row of the paper's tables and figures can be trained, or states why it is only cited."""

import jax
import jax.numpy as jnp
import pytest

from configs.tables import Row
from pit_jax.tuning import compiler_options
from tests.configs.rows import (
    PAGES,
    count_parameters,
    list_trained,
    make_dataset,
    name_parts,
    parse_row,
    read_page,
    shrink,
)
from tests.models.reduced import REDUCED
from tests.train.helpers import ROOT
from train.config.arguments import ANALYSES
from train.program.pure import make_pure_program

CITED = {"TL", "PTL", "LTL", "QCFS", "DSR", "RecDis", "IM-Loss", "Diet-SNN", "Dspike"}
COUNTS = {
    "table2": 63,
    "table3": 6,
    "table4": 6,
    "table5": 8,
    "table7": 4,
    "table8": 4,
    "table9": 6,
    "table10": 3,
    "table11": 12,
    "table12": 6,
}
TRAINED = list(list_trained())


def list_new_parts(rows: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """Return the rows with a network, norm, neuron or loss that no earlier row has.

    Networks that differ only in their number of blocks or their widths count as one.
    """
    seen: set[tuple[str, object]] = set()
    found = []
    for page, row in rows:
        parts = name_parts(row)
        parts = set((parts._asdict() | {"network": id(REDUCED[parts.network])}).items())
        if not parts <= seen:
            found.append((page, row))
        seen |= parts
    return found


def list_combinations(rows: list[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """Return one row for each combination of network, norm, neuron and loss.

    Networks that differ only in their number of blocks or their widths count as one.
    """
    found = {}
    for page, row in rows:
        network, *others = name_parts(row)
        found.setdefault((id(REDUCED[network]), *others), (page, row))
    return list(found.values())


def get_label(value: str | Row) -> str:
    return value if isinstance(value, str) else value.label


def test_every_table_and_figure_with_results_has_a_page():
    pages = {path.stem for path in (ROOT / "configs/tables").glob("*.py")}
    assert set(PAGES) == pages - {"__init__", "recipes"}
    for page in PAGES:
        kind = "Table" if page.startswith("table") else "Figure"
        number = page.removeprefix(kind.lower())
        assert read_page(page).__doc__.startswith(f"{kind} {number}: ")


@pytest.mark.parametrize("page", COUNTS)
def test_a_table_has_a_row_for_every_printed_result(page):
    assert len(read_page(page).ROWS) == COUNTS[page]


@pytest.mark.parametrize("page", PAGES)
def test_the_rows_of_a_page_are_complete(page):
    rows = read_page(page).ROWS
    labels = [row.label for row in rows]
    assert len(labels) == len(set(labels)) > 0
    for row in rows:
        assert row.source and isinstance(row.overrides, tuple)
        assert bool(row.cited) != bool(row.config)
        assert row.analysis in ("", *ANALYSES)
        # Only figures without numbers, and one row whose number we cannot read, print none.
        assert row.printed or row.analysis or row.cited


def test_only_listed_methods_are_cited_each_with_a_reason():
    cited = [row for page in PAGES for row in read_page(page).ROWS if row.cited]
    assert {row.label.split()[0] for row in cited} == CITED
    for row in cited:
        assert len(row.cited) > 20 and not row.overrides and not row.parameters


@pytest.mark.parametrize("page", PAGES)
def test_a_printed_size_is_exact_or_has_a_remark(page):
    for row in read_page(page).ROWS:
        if row.cited or not row.printed_parameters:
            continue
        exact = f"{row.parameters / 1e6:.2f}M"
        assert row.printed_parameters == exact or row.remark.startswith(exact), row


def test_a_run_in_several_tables_has_one_accuracy_except_for_a_known_slip():
    printed: dict[tuple[str, ...], set[float]] = {}
    for _, row in TRAINED:
        if "accuracy" in row.printed:
            run = parse_row(row).to_json(sort_keys=True)
            printed.setdefault(run, set()).add(row.printed["accuracy"])
    assert [each for each in printed.values() if len(each) > 1] == [{95.34, 94.83}]


def test_all_rows_of_pit_have_the_variant_paper():
    pit = [row for _, row in TRAINED if parse_row(row).neuron.name == "PIT"]
    assert len(pit) > 40
    assert all(row.config.endswith("paper") for row in pit)


@pytest.mark.parametrize("page, row", list_new_parts(TRAINED), ids=get_label)
def test_a_row_of_each_part_builds_at_full_size(page, row):
    assert count_parameters(row) == row.parameters


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_row_builds_at_full_size(page):
    for row in read_page(page).ROWS:
        if not row.cited:
            assert count_parameters(row) == row.parameters, row


@pytest.mark.slow
@pytest.mark.parametrize("page, row", list_combinations(TRAINED), ids=get_label)
def test_a_small_network_of_each_kind_trains_a_step(page, row):
    config = parse_row(row, *shrink(row))
    config.augment = {}  # It is tested in tests/train/program/test_inputs.py.
    dataset = make_dataset(config, largest=64)
    pure = make_pure_program(config, dataset)

    def train(key, batch):
        first, _ = pure.begin(key, batch, {})
        return first.params, *pure.train(first, batch)

    batch = {"image": jnp.asarray(dataset.train.images), "label": jnp.asarray(dataset.train.labels)}
    compiled = jax.jit(train, compiler_options=compiler_options("once"))
    before, state, metrics = compiled(jax.random.key(0), batch)
    assert int(state.step) == 1 and int(state.skipped) == 0
    assert jnp.isfinite(metrics["loss"])
    changed = jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, state.params))
    assert sum(changed) > len(changed) / 2
