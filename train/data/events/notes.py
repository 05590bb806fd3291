"""Count changes of recordings, and pass the counts from the workers that convert them to the run.

A note is saved next to the cache, so that a run that finds its frames in the cache reports it too.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pit_jax.display import print_text

from ...files import write_atomically

MEANINGS = {
    "clipped": "counts of events above 65,535 were set to it",
    "words": "address words that are not events of a pixel, such as triggers, were skipped",
    "sort": "events out of order were sorted (config.data.unsorted)",
    "skip": "events out of order were skipped (config.data.unsorted)",
}
Notes = dict[str, dict[str, int]]  # Counts by meaning and recording.


def save_notes(folder: Path, first: int, notes: Mapping[str, Mapping[str, int]]) -> None:
    """Save the notes of the shard that starts at sample `first`; nothing without notes."""
    if notes:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{first:06d}.json", json.dumps(notes), shared=True)


def print_notes(name: str, folders: list[Path]) -> None:
    """Print a line to stderr for each kind of change, with its count and an example."""
    total: Notes = defaultdict(dict)
    for file in sorted(file for folder in folders for file in folder.glob("*.json")):
        try:
            for meaning, counts in json.loads(file.read_text()).items():
                total[meaning].update({key: int(count) for key, count in counts.items()})
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            print_text(f"{file} is damaged: the counts in it are not reported", sys.stderr)
    for meaning, counts in total.items():
        print_text(
            f"note: {name}: {MEANINGS.get(meaning, meaning)}: {sum(counts.values()):,} in "
            f"{len(counts):,} recording{'' if len(counts) == 1 else 's'}, such as "
            f"{next(iter(counts), '')}",
            sys.stderr,
        )
