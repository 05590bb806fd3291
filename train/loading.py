"""Load what a run needs before it starts: the data, initial weights, and the program."""

import sys
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from pit_jax.display import print_text

from . import data
from .data.feeding.order import describe_skipped
from .distributed import hosts
from .program.metrics import describe_skipped_metrics
from .program.program import Program, make_program
from .run.pretrained import Pretrained, read_pretrained


def load_program(
    config: ConfigDict, devices: Sequence[jax.Device] | None, *, fresh: bool
) -> Program:
    """Load the data, and the variables that a `fresh` run starts from; return the program."""
    # The first process may have to download the data into a folder that all of them read.
    with hosts.let_first_go_ahead():
        dataset = data.load(**config.data)
    given, origin = read_pretrained(config, dataset) if fresh else Pretrained()
    program = make_program(config, dataset, given=given, pretrained=origin, devices=devices)
    print_skipped(config, dataset, len(devices or jax.devices()))
    return program


def print_skipped(config: ConfigDict, dataset: data.Dataset, num_devices: int) -> None:
    """Print a line on skipped training samples, and on skipped metrics; the first process only."""
    size, repeats = len(dataset.train), config.augment.get("repeats", 1)
    line = describe_skipped(size, config.batch_size, repeats, num_devices * config.accumulate)
    for each in filter(None, (line, describe_skipped_metrics(config, dataset.num_classes))):
        if hosts.is_first():
            print_text(f"note: {each}.", sys.stderr)
