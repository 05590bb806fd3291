"""Convert a data set once: python -m train.data.prepare imagenet --source DIR --out DIR"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..config.arguments import run_program
from ..errors import UserError
from .imagenet import source as imagenet_source
from .imagenet.array_records import Plan, convert
from .storage.workers import count_cores

# What finds the files of a data set and says how to convert them.
PLANS: dict[str, Callable[[Path], Plan]] = {"imagenet": imagenet_source.plan}


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("prepare", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Return 0 for a finished conversion, and 2 after Ctrl-C."""
    if args.name not in PLANS:
        raise UserError(f"nothing to prepare for {args.name!r}; there are: {', '.join(PLANS)}.")
    source, out = args.source.absolute(), args.out.absolute()
    workers = args.workers or count_cores()
    try:
        print(f"looking at {source}", file=sys.stderr)
        plan = PLANS[args.name](source)
        print(f"found {plan.source}, {len(plan.classes)} classes", file=sys.stderr)
        manifest = convert(plan, out, workers=workers, size=args.size, decoded=args.verify)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here.", file=sys.stderr)
        return 2
    for split in ("train", "test"):
        shards = [shard for shard in manifest["shards"].values() if shard["split"] == split]
        images, size = (sum(shard[key] for shard in shards) for key in ("records", "bytes"))
        print(f"{split}: {images:,} images in {len(shards)} files, {size:,} bytes")
    print(f"{len(plan.classes):,} classes; {out} is whole.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
