"""The table and the plot of all records: python -m benchmarks report"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.compare import LEAST_ROUNDS, Ratio, compare
from benchmarks.peers import PEERS
from benchmarks.records import read_all

TABLE, PLOT = "table.md", "plot.png"
OURS, KEPT = "pit_jax", "-kept"
SIGNS = {"faster": "✓", "slower": "✗", "equal": "="}
HEAD = (
    "| cell | library | what | time of a run (quartiles) | per second | time / ours | first run | "
    "peak memory |\n|---|---|---|---|---|---|---|---|"
)
LEGEND = (
    "*Time / ours* is the median over rounds of an entry's time for the same work divided by that "
    "of ours in the same round, with an interval that contains the true median in 90 % of the "
    "cases; ✓: ours is faster, ✗: slower, =: the interval contains 1. With fewer than "
    f"{LEAST_ROUNDS} rounds there is no such interval: *range* is from the smallest to the largest "
    "ratio, and there is no sign; what compiled during its turns has no ratio. *First run* "
    "includes compilation. *Peak memory* is the largest resident memory of the process, with the "
    "temporaries of the compiled program in brackets."
)


class Comparison(NamedTuple):
    """A peer's entry, the one of ours it is compared with, and the ratio of their times."""

    entry: Mapping[str, Any]
    ours: Mapping[str, Any]
    ratio: Ratio

    @property
    def is_fair(self) -> bool:
        """Whether neither of both compiled during its turns: its times would include that."""
        return not self.entry["compiled"] and not self.ours["compiled"]


def write(folder: Path) -> str:
    """Write the table and the plot of the records in a folder; return the table."""
    found = read_all(folder)
    if not found:
        raise ValueError(f"there are no records in {folder}. Run python -m benchmarks run first.")
    text = "\n\n".join([*(format_record(record) for record in found), LEGEND]) + "\n"
    (folder / TABLE).write_text(text)
    plot(found, folder / PLOT)
    return text


def find_references(entry: Mapping[str, Any], cell: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of ours that an entry is compared with.

    A library that keeps freed memory is compared with ours that does so too, where the cell has it.
    """
    ran = [x for x in cell["entries"] if x["status"] == "ok"]
    ours = [x for x in ran if x["peer"] == OURS]
    kept = {x["label"]: x for x in ran if x["peer"] == OURS + KEPT}
    if entry["status"] != "ok":
        return []
    if entry["against"]:
        found = [x for x in ours if x["label"] in entry["against"] and x is not entry]
    elif entry["peer"] == OURS:
        found = []
    else:
        found = ([x for x in ours if x["label"] == entry["label"]] or ours)[:1]
    if entry["peer"].endswith(KEPT) and entry["peer"] != OURS + KEPT:
        return [kept.get(x["label"], x) for x in found]
    return found


def list_comparisons(cell: Mapping[str, Any]) -> Iterator[Comparison]:
    """Yield the comparisons of a cell."""
    for entry in cell["entries"]:
        for reference in find_references(entry, cell):
            ours = [seconds / reference["work"] for seconds in reference["seconds"]]
            theirs = [seconds / entry["work"] for seconds in entry["seconds"]]
            yield Comparison(entry, reference, compare(ours, theirs))


def format_record(record: Mapping[str, Any]) -> str:
    """Return the table of a workload in Markdown."""
    machine = record["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB"
    loads = [cell[key] for cell in record["cells"] for key in ("load_before", "load_after")]
    lines = [
        f"## {record['workload']}: {record['title']} ({record['device']})",
        "",
        f"{where}; load {min(loads)} to {max(loads)}; commits "
        + ", ".join(sorted({cell["commit"] for cell in record["cells"]}))
        + f"; per second: {record['unit']}; {format_versions(record)}.",
        "",
        HEAD,
    ]
    for cell in record["cells"]:
        compared = list(list_comparisons(cell))
        for entry in cell["entries"]:
            lines.append(format_entry(cell, entry, [c for c in compared if c.entry is entry]))
    return "\n".join(lines)


def format_versions(record: Mapping[str, Any]) -> str:
    """Return the versions of all libraries of a record."""
    found: dict[str, str] = {}
    for cell in record["cells"]:
        for entry in cell["entries"]:
            found |= entry.get("versions", {})
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def format_entry(
    cell: Mapping[str, Any], entry: Mapping[str, Any], compared: Sequence[Comparison]
) -> str:
    """Return a row of the table; the reason of an entry that did not run fills it."""
    start = f"| {cell['name']} | {entry['peer']} | {entry['label']} |"
    if entry["status"] != "ok":
        return f"{start} {entry['status']}: {entry['reason'].replace('|', '/')} | | | | |"
    low, high = (format_seconds(seconds) for seconds in entry["quartiles"])
    time = f"{format_seconds(entry['median'])} ({low} – {high})"
    rate = format_number(entry["work"] / entry["median"])
    ratios = "; ".join(format_ratio(each) for each in compared)
    if number := entry["compiled"]:
        programs = "1 program" if number == 1 else f"{number} programs"
        ratios = f"compiled {programs} during its turns: not comparable"
    temporary = entry["details"].get("temporary_mib")
    memory = f"{entry['peak_mib']:,.0f} MiB" + ("" if temporary is None else f" ({temporary:,.0f})")
    return f"{start} {time} | {rate} | {ratios} | {entry['first_seconds']:.1f} s | {memory} |"


def format_ratio(compared: Comparison) -> str:
    """Return a ratio with its interval and sign, and what it is compared with where that differs.

    With too few rounds for an interval it has the range of the ratios and no sign.
    """
    ratio, ours = compared.ratio, compared.ours
    if not compared.is_fair:
        return f"{ours['peer']}, {ours['label']}, compiled during its turns: not comparable"
    others = [] if ours["peer"] == OURS else [ours["peer"]]
    others += [] if ours["label"] == compared.entry["label"] else [ours["label"]]
    of = f" of {', '.join(others)}" if others else ""
    between = f"{ratio.low:.2f} – {ratio.high:.2f}"
    if ratio.verdict:
        return f"{ratio.median:.2f} ({between}) {SIGNS[ratio.verdict]}{of}"
    return f"{ratio.median:.2f}" + (f" (range {between})" if ratio.rounds > 1 else "") + of


def format_seconds(seconds: float) -> str:
    """Return a time in seconds, or in milliseconds below one second."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def format_number(value: float) -> str:
    """Return a rate with three digits, such as 52.3, 1,230 or 3.41e9."""
    if value >= 1e6:
        return f"{value:.2e}".replace("e+0", "e").replace("e+", "e")
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(found: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw the ratios of all cells: a row for each cell, a color for each library."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    rows = [
        (f"{record['workload']} {cell['name']}", [c for c in list_comparisons(cell)])
        for record in found
        for cell in record["cells"]
    ]
    rows = [(name, [c for c in of if c.is_fair and c.entry["peer"] != OURS]) for name, of in rows]
    rows = [(name, of) for name, of in rows if of]
    colors = {peer: f"C{number % 10}" for number, peer in enumerate(PEERS)}
    markers = {peer: "o" if number < 10 else "s" for number, peer in enumerate(PEERS)}
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.24 * len(rows)), layout="constrained")
    for y, (_, of) in enumerate(rows):
        for peer_entry, _, ratio in of:
            peer = peer_entry["peer"]
            if ratio.verdict:
                axes.plot([ratio.low, ratio.high], [y, y], color=colors[peer], linewidth=1)
            axes.plot(ratio.median, y, markers[peer], color=colors[peer], markersize=4, label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("time of the library / time of pit_jax (right of 1: pit_jax is faster)")
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    if known:
        axes.legend(known.values(), known.keys(), fontsize=7, loc="best")
    figure.savefig(file, dpi=150)
    plt.close(figure)
