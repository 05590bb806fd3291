"""Compare pit_jax with other libraries on CPUs; scripts/bench_gpu.sh measures on a GPU.

python -m benchmarks run W1 W3 --quick     # measure; records in benchmarks/results/
python -m benchmarks report                # the table and the plot of all records
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import report
from benchmarks.peers import PEERS
from benchmarks.records import RESULTS
from benchmarks.runner import run
from benchmarks.workload import WORKLOADS, load_module
from pit_jax.signals import run_as_program

ON_CPUS = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def main(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure workloads and write their records")
    measure.add_argument("workloads", nargs="*", metavar="W", help="W1 to W8, all by default")
    measure.add_argument("--quick", action="store_true", help="only the cells of `make bench`")
    measure.add_argument("--small", action="store_true", help="tiny sizes, to try the programs")
    measure.add_argument("--rounds", type=int, help="turns of each entry")
    measure.add_argument("--cell", default="", help="only cells whose name contains this")
    measure.add_argument("--peers", default="", help="only these, separated by commas")
    show = commands.add_parser("report", help="write the table and the plot of all records")
    for command in (measure, show):
        command.add_argument("--out", type=Path, default=RESULTS, help="folder of the records")
    args = parser.parse_args(arguments)
    if args.command == "report":
        print(report.write(args.out))
        return 0
    peers = tuple(filter(None, args.peers.split(",")))
    if unknown := [name for name in peers if name not in PEERS]:
        parser.error(f"there is no peer {unknown[0]!r}. Choose from {', '.join(PEERS)}.")
    names = args.workloads or list(WORKLOADS)
    if unknown := [name for name in names if name not in WORKLOADS]:
        parser.error(f"there is no workload {unknown[0]!r}. Choose from {', '.join(WORKLOADS)}.")
    select = {"quick": args.quick, "peers": peers, "small": args.small, "cell": args.cell}
    workloads = [load_module(name).WORKLOAD.select(**select) for name in names]
    if empty := [workload.name for workload in workloads if not workload.cells]:
        parser.error(f"no cell of {empty[0]} is measured with these options.")
    # The records are those of CPUs, also on a machine with a GPU.
    os.environ.update(ON_CPUS)
    say = partial(print, flush=True)
    for file in run(workloads, args.out, rounds=args.rounds, say=say):
        say(f"wrote {file}")
    return 0


if __name__ == "__main__":
    run_as_program(main, sys.argv[1:])
