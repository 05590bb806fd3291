"""Fuzz all readers and configs: python -m tests.fuzz --minutes 10

Every round gives each target a share of the time. Findings are printed, written to
`build/fuzz/findings.jsonl`, and make the exit code 1. With `--record`, the counts are added to
`tests/fuzz/table.json`, and the table in docs/guide/reliability.md is written again.
"""

import argparse
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

from tests.fuzz.core import ROOT
from tests.fuzz.run import CONFIGS, Tally, run_block, run_configs
from tests.fuzz.table import add_run
from tests.fuzz.targets import find_target, list_targets

FINDINGS = ROOT / "build" / "fuzz" / "findings.jsonl"
# A block ends after this number of inputs, or after some seconds; a worker takes seconds to start.
BLOCK, CONFIG_BLOCK = 3000, 4


class Fuzzer:
    """Blocks of inputs for all targets in turn, by several threads that each watch a worker."""

    def __init__(self, names: list[str], seed: int, ends_at: float) -> None:
        self.names, self.seed, self.ends_at = names, seed, ends_at
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self._next = dict.fromkeys(names, 0)
        self._turns = iter(self._take_turns())
        self._lock = threading.Lock()

    def work(self) -> None:
        """Run blocks until the time is over."""
        while time.monotonic() < self.ends_at:
            with self._lock:
                name = next(self._turns)
                size = CONFIG_BLOCK if name == CONFIGS else BLOCK
                first = self._next[name]
                self._next[name] += size
            for line in self._run(name, first, size):
                self._add(name, line)

    def _run(self, name: str, first: int, size: int) -> Iterator[dict[str, Any]]:
        if name == CONFIGS:
            return run_configs(self.seed, first, size, self.ends_at)
        return run_block(find_target(name), self.seed, first, size, self.ends_at)

    def _add(self, name: str, line: dict[str, Any]) -> None:
        with self._lock:
            self.tallies[name].add(line)
            if line["end"] == "finding":
                found = {"target": name, "seed": self.seed, **line}
                print(f"FINDING {json.dumps(found)[:900]}", file=sys.stderr)
                FINDINGS.parent.mkdir(parents=True, exist_ok=True)
                with FINDINGS.open("a") as file:
                    file.write(json.dumps(found) + "\n")

    def _take_turns(self) -> Iterator[str]:
        for _ in count():
            yield from self.names


def main(words: list[str]) -> int:
    """Fuzz for some minutes; return 1 if there was a finding."""
    args = build_parser().parse_args(words)
    known = [*list_targets(), CONFIGS]
    names = [name for name in known if not args.only or any(o in name for o in args.only)]
    if not names:
        raise SystemExit(f"no target has {' or '.join(args.only)} in its name: {', '.join(known)}")
    seed = int(time.time()) if args.seed is None else args.seed
    begun = time.monotonic()
    fuzzer = Fuzzer(names, seed, begun + 60 * args.minutes)
    threads = [threading.Thread(target=fuzzer.work, daemon=True) for _ in range(args.workers)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(5)
        counted = sum(sum(tally.ends.values()) for tally in fuzzer.tallies.values())
        found = sum(len(tally.findings) for tally in fuzzer.tallies.values())
        minutes = (time.monotonic() - begun) / 60
        line = f"{minutes:.1f} min, {counted:,} inputs, {found} findings"
        print(f"\r{line}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for name, tally in sorted(fuzzer.tallies.items()):
        print(f"{name:<40}", *(f"{end} {n:,}" for end, n in sorted(tally.ends.items())))
    if args.record:
        add_run(fuzzer.tallies, args.workers * (time.monotonic() - begun) / 60, seed)
    return int(any(tally.findings for tally in fuzzer.tallies.values()))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=1, help="processes at a time; default: 1")
    parser.add_argument("--seed", type=int, help="default: the time")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="targets by name")
    parser.add_argument("--record", action="store_true", help="add the counts to the table")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
