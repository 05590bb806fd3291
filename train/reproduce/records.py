"""The records of a folder: one file for each config, with the results of its runs by seed.

Pages are made from records alone, so they can be made again from committed records.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flax.traverse_util import flatten_dict

from ..errors import UserError
from ..files import write_atomically
from ..run.reading import read_json
from .locks import hold_lock

if TYPE_CHECKING:
    from configs.scales import Case, Experiment

FOLDER = "records"
# The keys of a record in their order, and those that all its runs must share.
KEYS = ("label", "config", "overrides", "command", "code", "data", "environment", "measures")
COMMON = ("config", "code", "data")
# Numbers that every finished run has.
NUMBERS = ("accuracy", "spikes", "seconds")


def find_record(out: Path, slug: str) -> Path:
    """Return the file of a record."""
    return out / FOLDER / f"{slug}.json"


def read_record(out: Path, slug: str) -> dict[str, Any] | None:
    """Return a record, with its own slug; None if it is missing.

    Raises UserError if the file is damaged.
    """
    file = find_record(out, slug)
    found: dict[str, Any] | None = read_json(file, dict)
    if found is not None and not _is_record(found):
        raise UserError(f"{file} is not a record of train.reproduce; restore it or move it away.")
    return None if found is None else {"slug": slug, **found}


def _is_record(found: Mapping[str, Any]) -> bool:
    runs = found.get("runs")
    if not isinstance(runs, dict):
        return False
    return all(
        isinstance(found.get(key, {}), dict) for key in ("code", "data", "measures")
    ) and all(
        seed.isdecimal() and isinstance(run, dict) and _is_run(run) for seed, run in runs.items()
    )


def _is_run(run: Mapping[str, Any]) -> bool:
    if "failed" in run:
        return isinstance(run["failed"], str)
    # NaN is not below infinity.
    finite = all(isinstance(run.get(key), Real) and abs(run[key]) < math.inf for key in NUMBERS)
    measures, measured = run.get("measures", {}), run.get("measured", [])
    return finite and isinstance(measures, dict) and isinstance(measured, list)


def check_code(out: Path, common: Mapping[str, Any]) -> None:
    """Raise UserError if a record in `out` was made with other code than `common`.

    All records of a folder have the same commit, and those of the same page of configs/ the same
    hash.
    """
    code, page = common["code"], _find_page(common).split(":")[0]
    for file in sorted((out / FOLDER).glob("*.json")):
        record = read_record(out, file.stem) or {}
        other = record.get("code") or code
        commit = other.get("commit")
        if commit != code["commit"] or (_find_page(record).split(":")[0] == page and other != code):
            raise UserError(
                f"{file} was made with other code, of commit {commit}; the sources in "
                f"{out} are of {code['commit']}. Choose another --out."
            )


def _find_page(record: Mapping[str, Any]) -> str:
    """Return the page and variant in the command of a record; empty if it has none."""
    _, _, page = str(record.get("command", "")).partition(" --config ")
    return page.split()[0] if page.split() else ""


def read_records(experiment: "Experiment", out: Path) -> dict[str, dict[str, Any]]:
    """Return the records in `out` by the label of their case; those that are missing are skipped.

    Each has its `slug`. A record of an older version, whose config lacks keys that pages have now,
    is found too. Raises UserError for a damaged record.
    """
    from .plan import find_slugs

    found = {label: read_record(out, slug) for label, slug in find_slugs(experiment).items()}
    if missing := [case for case in experiment.cases if case.config and not found.get(case.label)]:
        files = sorted((out / FOLDER).glob("*.json"))
        records = [record for file in files if (record := read_record(out, file.stem))]
        for case in missing:
            matching = (record for record in records if _is_older(record, case))
            found[case.label] = next(matching, None)
    return {label: record for label, record in found.items() if record is not None}


def _is_older(record: Mapping[str, Any], case: "Case") -> bool:
    """Return whether a record is of `case`, except for keys that it lacks and nobody has set."""
    from .plan import resolve

    if _find_page(record) != case.config:
        return False
    was, now = map(_flatten, (record.get("config") or {}, resolve(case.config, case.overrides)))
    given = [override.partition("=")[0] for override in case.overrides]
    return bool(was) and was.items() <= now.items() and (now.keys() - was).isdisjoint(given)


def _flatten(config: Mapping[str, Any]) -> dict[str, str]:
    flat = flatten_dict(config, keep_empty_nodes=True, sep=".")
    return {key: json.dumps(value, default=str) for key, value in flat.items()}


def is_done(record: Mapping[str, Any] | None, seed: int, measures: Iterable[str]) -> bool:
    """Return whether a record has the run of `seed` with all `measures`."""
    run = (record or {}).get("runs", {}).get(str(seed), {})
    return "accuracy" in run and set(measures) <= set(run.get("measured", ()))


def find_failure(record: Mapping[str, Any] | None, seed: int) -> str | None:
    """Return the reason why the run of `seed` failed; None if it did not."""
    reason: str | None = (record or {}).get("runs", {}).get(str(seed), {}).get("failed")
    return reason


def write_run(
    out: Path, slug: str, common: Mapping[str, Any], seed: int, run: Mapping[str, Any] | None
) -> None:
    """Write the results of one run, or remove them if `run` is None.

    `common` is the record without its runs. Measures that the run already has are kept, and a
    finished run stays finished if measuring more of it fails. Raises UserError if the record is of
    another config, other code or other data.
    """
    with hold_lock(out, slug):
        was = read_record(out, slug) or {"runs": {}}
        for key in COMMON:
            if was.get(key) and common.get(key) and was[key] != common[key]:
                raise UserError(
                    f"{find_record(out, slug)} was made with other {key}. Choose another --out."
                )
        runs = dict(was["runs"])
        earlier = runs.pop(str(seed), {})
        if run is not None:
            runs[str(seed)] = _merge(earlier, run)
        environments = _list_distinct([*was.get("environment", []), *common.get("environment", [])])
        # A failed run may not know its code and data: empty values replace nothing.
        head = was | {key: value for key, value in common.items() if value}
        _write(out, slug, head | {"environment": environments, "runs": runs})


def write_count(
    out: Path, slug: str, common: Mapping[str, Any], measures: Mapping[str, Any]
) -> None:
    """Write the record of a case that is counted, not trained."""
    with hold_lock(out, slug):
        _write(out, slug, {**common, "measures": measures, "runs": {}})


def _merge(earlier: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    if "failed" in run and "accuracy" in earlier:
        # Not the run has failed, but a measure that another table asks for.
        return dict(earlier)
    if "failed" in run or "failed" in earlier:
        return dict(run)
    # Sorted by name, so that a record does not depend on the order of the tables.
    measures = {**earlier.get("measures", {}), **run.get("measures", {})}
    measured: Collection[str] = {*earlier.get("measured", ()), *run.get("measured", ())}
    # A later command that only reads a finished run must not replace its training time.
    seconds = earlier.get("seconds", run["seconds"])
    return {
        **run,
        "seconds": seconds,
        "measured": sorted(measured),
        "measures": dict(sorted(measures.items())),
    }


def _list_distinct(environments: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    texts = {json.dumps(each, sort_keys=True): each for each in environments}
    return [texts[text] for text in sorted(texts)]


def _write(out: Path, slug: str, record: Mapping[str, Any]) -> None:
    """Write a record with one line for each run, in the order of the seeds."""
    head = {key: record[key] for key in KEYS if key in record}
    runs = sorted(record["runs"].items(), key=lambda item: int(item[0]))
    lines = ",\n".join(f"  {json.dumps(seed)}: {json.dumps(run)}" for seed, run in runs)
    text = json.dumps(head, indent=1).removesuffix("\n}")
    file = find_record(out, slug)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, f'{text},\n "runs": {{\n{lines}\n }}\n}}\n', shared=True)
