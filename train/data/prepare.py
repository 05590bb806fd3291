"""Converts a data set once: python -m train.data.prepare imagenet --source DIR --out DIR

usage: python -m train.data.prepare NAME --source DIR --out DIR [--workers N] [--size N] [--verify]

  NAME         imagenet
  --source     where the files lie as they were downloaded; nothing there is changed
  --out        a new folder for the converted data, or one that this command began to fill
  --workers    processes that read and write at once; default: one for each core
  --size       make images smaller, to a shorter side of N pixels; default 0: as they are
  --verify     decode every image before it is stored; without, a JPEG must begin and end as one
  --help       this page

Stopped or killed, the same command goes on with what is missing. On a finished folder it checks
the hash of every file.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..config.cli import Parser
from ..errors import UserError
from .imagenet import source as imagenet_source
from .imagenet.array_records import Plan, convert
from .storage.workers import count_cores

# What finds the files of a data set and says how to convert them.
PLANS: dict[str, Callable[[Path], Plan]] = {"imagenet": imagenet_source.plan}


def main(argv: Sequence[str]) -> int:
    """Exit code 0 for a finished conversion, 2 for a mistake to be mended or after Ctrl-C."""
    if {"--help", "-h"} & set(argv):
        print(__doc__)
        return 0
    try:
        args = _parse(argv[1:])
        source, out = Path(args.source).absolute(), Path(args.out).absolute()
        print(f"looking at {source}", file=sys.stderr)
        plan = PLANS[args.name](source)
        print(f"found {plan.source}, {len(plan.classes)} classes", file=sys.stderr)
        manifest = convert(plan, out, workers=args.workers, size=args.size, decoded=args.verify)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here.", file=sys.stderr)
        return 2
    for split in ("train", "test"):
        shards = [shard for shard in manifest["shards"].values() if shard["split"] == split]
        images, size = (sum(shard[key] for shard in shards) for key in ("records", "bytes"))
        print(f"{split}: {images:,} images in {len(shards)} files, {size:,} bytes")
    print(f"{len(plan.classes):,} classes; {out} is whole.")
    return 0


def _parse(argv: Sequence[str]) -> Any:
    parser = Parser()
    parser.add_argument("name")
    parser.add_argument("--source", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--workers", type=int, default=count_cores())
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--verify", action="store_true")
    args = parser.parse_args(argv)
    if args.name not in PLANS:
        raise UserError(f"nothing to prepare for {args.name!r}; there are: {', '.join(PLANS)}.")
    if args.workers < 1 or args.size < 0:
        raise UserError("--workers must be at least 1 and --size at least 0.")
    return args


if __name__ == "__main__":
    sys.exit(main(sys.argv))
