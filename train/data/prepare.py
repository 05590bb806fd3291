"""Convert a data set once: python -m train.data.prepare imagenet --source DIR --out DIR"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pit_jax.display import print_text
from pit_jax.signals import run_as_program

from ..config.arguments import run_program
from ..errors import UserError
from .imagenet import source as imagenet_source
from .imagenet.array_records import Plan, convert
from .storage.workers import count_cores

# Functions that find the files of a data set and plan their conversion.
PLANS: dict[str, Callable[[Path], Plan]] = {"imagenet": imagenet_source.plan}


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("prepare", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Convert, and return 0."""
    if args.name not in PLANS:
        raise UserError(f"cannot prepare {args.name!r}; known data sets are {', '.join(PLANS)}.")
    source, out = args.source.absolute(), args.out.absolute()
    if source.exists() and out.exists() and source.samefile(out):
        raise UserError(f"--source and --out are the same folder, {out}. Choose another --out.")
    if len(out.resolve().parts) > len(source.resolve().parts) + 1 and (
        out.resolve().is_relative_to(source.resolve())
    ):  # A folder in train/ would be read as a class.
        raise UserError(f"{out} is inside a folder of --source. Choose another --out.")
    workers = args.workers or count_cores()
    print_text(f"looking in {source}", sys.stderr)
    plan = PLANS[args.name](source)
    print_text(f"found {plan.source}, {len(plan.classes)} classes", sys.stderr)
    manifest = convert(plan, out, workers=workers, size=args.size, decoded=args.verify)
    for split in ("train", "test"):
        shards = [shard for shard in manifest["shards"].values() if shard["split"] == split]
        images, size = (sum(shard[key] for shard in shards) for key in ("records", "bytes"))
        print_text(f"{split}: {images:,} images in {len(shards)} files, {size:,} bytes")
    print_text(f"{len(plan.classes):,} classes; {out} is complete.")
    return 0


if __name__ == "__main__":
    run_as_program(main, sys.argv)
