"""A cache of arrays that take long to make: made in parallel, checked by hash, resumable."""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np

from pit_jax.display import print_text

from ...errors import UserError
from ...files import hash_content, write_atomically
from ...terminal import Terminal, track
from .lock import hold_lock
from .workers import count_cores, start_pool

SHARD = 128  # Samples in a file: seconds of work, which is all that a killed run loses.


def choose_cache_folder(data_dir: str | os.PathLike[str], cache_dir: str | None) -> Path:
    """Return `cache_dir`, needed if the disk of the data is read-only, or `data_dir`/cache."""
    return Path(cache_dir) if cache_dir else Path(data_dir) / "cache"


def load_or_make(
    root: Path,
    name: str,
    key: Mapping[str, Any],
    count: int,
    make: Callable[[range], np.ndarray],
    *,
    workers: int | None = None,
) -> np.ndarray:
    """Return `make(range(0, SHARD))`, `make(range(SHARD, ...))` ... of `count` samples, joined.

    The arrays are stored in `root/name-HASH` with the hash of `key`, which has everything that the
    samples depend on. Each file has its own hash in its name, so a damaged one is found and made
    again. `make` runs in `workers` processes (by default one for each core), so it must be a
    function of a module or a `partial` of one. Raises UserError if the folder cannot be written.
    """
    text = json.dumps(key, sort_keys=True)
    folder = root / f"{name}-{hash_content(text)[:16]}"
    shards = [range(start, min(start + SHARD, count)) for start in range(0, count, SHARD)]
    try:
        found = {shard.start: _find(folder, shard) for shard in shards}
        # A complete cache may be on a read-only disk, so nothing is written then.
        if any(array is None for array in found.values()):
            with hold_lock(folder, f"makes {name}") as locked:
                _make_missing(folder, text, found, shards, make, workers, is_alone=locked)
    except OSError as error:
        raise UserError(
            f"cannot write the cache {folder} ({error.strerror}); choose another with "
            "--config.data.cache_dir=DIR."
        ) from error
    return np.concatenate([found[shard.start] for shard in shards])


def _make_missing(
    folder: Path,
    text: str,
    found: dict[int, np.ndarray | None],
    shards: list[range],
    make: Callable[[range], np.ndarray],
    workers: int | None,
    *,
    is_alone: bool,
) -> None:
    """Add to `found` the shards that are missing, also in `folder`, whose key is `text`."""
    for shard in shards:  # Another process may have made the shards since.
        if found[shard.start] is None:
            found[shard.start] = _find(folder, shard)
    missing = [shard for shard in shards if found[shard.start] is None]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if is_alone:
        for part in folder.glob("*.part"):  # Killed processes left these parts.
            part.unlink()
    write_atomically(folder / "key.json", text + "\n", shared=True)
    print_text(f"making {folder.name.rpartition('-')[0]} once, in {folder}", sys.stderr)
    for shard, array in _make_all(make, missing, workers):
        _save(folder, shard, array)
        found[shard.start] = array


def _make_all(
    make: Callable[[range], np.ndarray], shards: list[range], workers: int | None
) -> Iterator[tuple[range, np.ndarray]]:
    """Yield each shard with its array, in the order in which they are finished."""
    workers = min(workers or count_cores(), len(shards))
    if workers == 1:
        for shard in track(shards, "samples", console=Terminal(stderr=True)):
            yield shard, make(shard)
        return
    with start_pool(workers) as processes:
        jobs = {processes.submit(make, shard): shard for shard in shards}
        for job in track(as_completed(jobs), "samples", len(jobs), console=Terminal(stderr=True)):
            yield jobs[job], job.result()


def _find(folder: Path, shard: range) -> np.ndarray | None:
    # The hash is in the name, not in a second file, because one rename publishes both at once.
    for file in folder.glob(f"{shard.start:06d}-*.npz"):
        raw = file.read_bytes()
        if file.stem.partition("-")[2] == hash_content(raw):
            return np.load(io.BytesIO(raw))["samples"]
        print_text(f"{file} is damaged; making it again", sys.stderr)
        file.unlink(missing_ok=True)
    return None


def _save(folder: Path, shard: range, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, samples=array)
    raw = buffer.getvalue()
    # shared: another run may be making the same samples. Both write the same bytes.
    write_atomically(folder / f"{shard.start:06d}-{hash_content(raw)}.npz", raw, shared=True)
