"""Train a network: python -m train.main --config digits RUN

Signals stop and save a run: `pit_jax.signals` for one process, `distributed.hosts.make_stop_check`
for several processes.
"""

import argparse
import logging
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack

import jax

from pit_jax.display import print_text
from pit_jax.signals import is_stopping, run_as_program

from .config.arguments import run_program
from .distributed import hosts, watchdog
from .errors import UserError
from .program.sharding import use_cpu_devices


def main(argv: Sequence[str]) -> int:
    """Run the program with `argv` as in `sys.argv`, and return its exit code."""
    return run_program("train", run, argv[1:])


def run(args: argparse.Namespace) -> int:
    """Return 0 after a finished or a stopped and saved run, 2 for a mistake of the user.

    Return 1 if another process of the run was lost.
    """
    silence_storage_threads()
    try:
        return _train(args)
    except UserError as error:
        lost = isinstance(error, hosts.PeerLost)
        if not lost and not jax.distributed.is_initialized():
            raise  # `run_program` prints it.
        print_text(f"error: {error}", sys.stderr)
        code = 1 if lost else 2
    except Exception:
        # A normal exit waits in JAX's shutdown barrier for the other processes, and those wait for
        # this one in a collective: leave() exits without the barrier.
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    if jax.distributed.is_initialized():
        hosts.leave(code)
    return code


def _train(args: argparse.Namespace) -> int:
    several = hosts.find_peers(args.coordinator, args.processes, args.process)
    config, workdir = args.config, args.workdir
    use_cpu_devices(config.cpu_devices, config.batch_size)
    with ExitStack() as stack:
        stop = is_stopping
        if several is not None:
            # Started first: JAX may abort this process while it waits for the others to join.
            stack.enter_context(watchdog.explain_kill(workdir))
            hosts.join(several)
            # Only after `join`: it calls the handler that JAX installs for SIGTERM.
            stop = hosts.make_stop_check()
        from .loop import train

        summary = train(config, workdir, stop)
    if summary is None:
        hosts.print_once("stopped and saved; repeat the command to resume.")
    return 0


def silence_storage_threads() -> None:
    """Suppress tracebacks from storage threads; the error itself is raised later."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    report = sys.unraisablehook

    def print_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
        # When a save fails, Orbax closes its event loop; the tasks of the save that are still
        # running then fail too, without telling anything new.
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = print_unraisable


if __name__ == "__main__":
    run_as_program(main, sys.argv)
