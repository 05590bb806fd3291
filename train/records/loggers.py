"""Sends the metrics of a run to metrics.jsonl, TensorBoard and Weights & Biases.

A run that was killed has logged steps that it trains again when it resumes. metrics.jsonl drops
their lines first; then the dashboards are made equal to it.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Protocol

from ml_collections import ConfigDict

from pit_jax.checks.bounds import set_bounds, whole

from ..monitor.nonfinite import StepMetrics
from .jsonl import MetricsFile
from .tensorboard import TensorBoard
from .wandb import WeightsAndBiases


class Sink(Protocol):
    """A destination of metrics; a `record` is a line of metrics.jsonl."""

    def write_step(self, record: Mapping[str, Any]) -> None:
        """Write a step: `step`, `epoch`, `loss` and `accuracy`, None if they are NaN."""

    def write_epoch(self, record: Mapping[str, Any]) -> None:
        """Write the end of an epoch."""

    def close(self) -> None:
        """Write everything that is still buffered."""


class Journal:
    """Sinks that get all epochs, and every `every`-th step, or no steps for 0."""

    @set_bounds(every=whole(0))
    def __init__(
        self, sinks: Iterable[Sink] = (), every: int = 0, file: MetricsFile | None = None
    ) -> None:
        self._sinks, self._every, self._file = list(sinks), every, file

    @property
    def content(self) -> str:
        """The content of metrics.jsonl."""
        return self._file.content if self._file else ""

    def log_step(self, epoch: int, done: StepMetrics | None) -> None:
        """Log a finished step, if it is due."""
        if done and self._every and done.step % self._every == 0:
            # JSON has no NaN; the loss of a skipped step may be NaN.
            values = {"loss": done.loss, "accuracy": done.accuracy}
            finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
            for sink in self._sinks:
                sink.write_step({"epoch": epoch, "step": done.step, **finite})

    def log_epoch(self, record: Mapping[str, Any]) -> None:
        """Log a finished epoch."""
        for sink in self._sinks:
            sink.write_epoch(record)

    def close(self) -> None:
        """Close all sinks, even if one fails."""
        with ExitStack() as stack:
            for sink in self._sinks:
                stack.callback(sink.close)


def open_journal(config: ConfigDict, workdir: Path, step: int) -> Journal:
    """Return the journal of a run that begins or resumes after `step`.

    metrics.jsonl is the reference: the others are made to agree with it, so that no point is
    missing or doubled whenever the run was killed. Raises UserError if W&B refuses.
    """
    records = MetricsFile(workdir / "metrics.jsonl", step)
    with ExitStack() as opened:  # If one cannot be opened, the ones before it are closed.
        sinks: list[Sink] = [records]
        if config.tensorboard:
            board = TensorBoard(workdir / "tensorboard", records.lines)
            sinks.append(opened.enter_context(closing(board)))
        if config.wandb.project:
            sinks.append(WeightsAndBiases(config, workdir, records.lines))
        opened.pop_all()
    return Journal(sinks, config.log_every, records)
