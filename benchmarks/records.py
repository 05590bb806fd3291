"""Records of benchmarks, `benchmarks/results/*.json`: one schema, written after every cell.

README.md documents the schema; `check` is its definition.
"""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS, ROOT
from benchmarks.workload import WORKLOADS, count_threads

SCHEMA = 1
RESULTS = ROOT / "benchmarks" / "results"
STATUS = ("ok", "missing", "failed")
NUMBER = (int, float)
# The keys of each object and their types; a `None` type allows null.
RECORD = {
    "schema": int,
    "workload": str,
    "title": str,
    "unit": str,
    "device": str,
    "machine": dict,
    "cells": list,
}
MACHINE = {"processor": str, "cores": int, "memory_gib": NUMBER, "system": str, "python": str}
CELL = {
    "name": str,
    "quick": bool,
    "command": str,
    "started": str,
    "commit": str,
    "rounds": int,
    "load_before": NUMBER,
    "load_after": NUMBER,
    "seconds": NUMBER,
    "entries": list,
}
ENTRY = {
    "peer": str,
    "label": str,
    "against": list,
    "task": dict,
    "status": str,
    "reason": str,
}
MEASURED = {
    "versions": dict,
    "dtype": str,
    "work": NUMBER,
    "repeats": int,
    "first_seconds": NUMBER,
    "seconds": list,
    "median": NUMBER,
    "quartiles": list,
    "peak_mib": NUMBER,
    "compiled": int,
    "details": dict,
}


def check(record: Any) -> None:
    """Raise ValueError unless a record follows the schema."""
    _check_keys(record, RECORD, "record")
    if record["schema"] != SCHEMA or record["workload"] not in WORKLOADS:
        raise ValueError(f"this is schema {record['schema']} of {record['workload']!r}.")
    _check_keys(record["machine"], MACHINE, "machine")
    names = [cell["name"] for cell in record["cells"]]
    if len(set(names)) != len(names):
        raise ValueError(f"cells need different names, got {names}.")
    for cell in record["cells"]:
        _check_keys(cell, CELL, f"cell {cell.get('name')}")
        for entry in cell["entries"]:
            _check_entry(entry, cell)


def _check_entry(entry: dict[str, Any], cell: dict[str, Any]) -> None:
    where = f"{cell['name']}, {entry.get('peer')}, {entry.get('label')}"
    is_ok = entry.get("status") == "ok"
    _check_keys(entry, ENTRY | MEASURED if is_ok else ENTRY, where)
    if entry["peer"] not in PEERS or entry["status"] not in STATUS:
        raise ValueError(f"{where}: unknown peer or status {entry['status']!r}.")
    if is_ok == bool(entry["reason"]):
        raise ValueError(f"{where}: a reason is for what has not run, got {entry['reason']!r}.")
    if is_ok and len(entry["seconds"]) != cell["rounds"]:
        raise ValueError(f"{where}: {len(entry['seconds'])} times in {cell['rounds']} rounds.")


def _check_keys(value: Any, types: dict[str, Any], where: str) -> None:
    if not isinstance(value, dict) or value.keys() != types.keys():
        found = sorted(value) if isinstance(value, dict) else value
        raise ValueError(f"{where}: the keys must be {sorted(types)}, got {found}.")
    for key, kind in types.items():
        if not isinstance(value[key], kind) or (kind is not bool and value[key] is True):
            raise ValueError(f"{where}: {key} must be {kind}, got {value[key]!r}.")


def write(record: dict[str, Any], folder: Path) -> Path:
    """Check and write a record.

    Cells that an older one of the same machine has in addition stay in the file.
    """
    file = folder / f"{record['workload']}-{record['device']}.json"
    older = read(file) if file.exists() else {"machine": None}
    if older["machine"] == record["machine"]:
        new = {cell["name"] for cell in record["cells"]}
        old = [cell for cell in older["cells"] if cell["name"] not in new]
        record = {**record, "cells": [*old, *record["cells"]]}
    check(record)
    folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    os.replace(part, file)
    return file


def read(file: Path) -> dict[str, Any]:
    """Return a record; raise ValueError unless it follows the schema."""
    record: dict[str, Any] = json.loads(file.read_text())
    check(record)
    return record


def read_all(folder: Path) -> list[dict[str, Any]]:
    """Return all records of a folder by workload and device."""
    return [read(file) for file in sorted(folder.glob("*.json"))]


def read_load() -> float:
    """Return the programs that wanted to run, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def describe_machine() -> dict[str, Any]:
    """Return what the times depend on besides the programs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _read_processor(),
        "cores": count_threads(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def find_commit(folder: Path = ROOT) -> str:
    """Return the commit of a clone, with a `+` if tracked files differ; "" without git."""
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "--short=12", "HEAD"], text=True)
        changes = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    # The records themselves change while a benchmark runs.
    others = [line for line in changes.splitlines() if "benchmarks/results/" not in line]
    return commit.strip() + ("+" if others else "")


def _read_processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
