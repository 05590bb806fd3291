"""Markdown tables that code writes into a page, between markers with the name of its module."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence


def fill_tables(page: str, module: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return `page` with each of `tables` between its markers."""
    return _compile_markers(module).sub(
        lambda found: found[1] + tables[found[2]]() + found[3], page
    )


def list_tables(page: str, module: str) -> list[str]:
    """Return the names of the tables for which `page` has markers, in order."""
    return [found[2] for found in _compile_markers(module).finditer(page)]


def format_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: int) -> str:
    """Return a Markdown table whose first `left` columns are left-aligned."""
    rule = "|" + "---|" * left + "--:|" * (len(head) - left)
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _compile_markers(module: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- (\w+) of docs\._build\.{module} -->\n).*?(<!-- its end -->)", re.S)
