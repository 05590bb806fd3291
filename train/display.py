"""What a person sees while a run goes on, and at its end."""

import time
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from train.summary import Summary

REFRESH_SECONDS = 0.5


class Display:
    """A progress bar over the steps of a run, and a line an epoch; a log file gets the lines."""

    def __init__(self, total_steps: int, batch_size: int) -> None:
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=Console(),
        )
        self._task = self._progress.add_task("", total=total_steps, epoch="-", numbers="compiling")
        self._batch_size = batch_size

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def begin(self, step: int) -> None:
        """Training goes on from `step`; the clock of images/s starts."""
        self._progress.update(self._task, completed=step, numbers="")
        self._shown = (step, time.monotonic())

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._progress.console.print(text, highlight=False)

    def is_due(self) -> bool:
        """Whether it is time to show new numbers; they make the host wait for the device."""
        return time.monotonic() - self._shown[1] > REFRESH_SECONDS

    def show(self, epoch: int, step: int, loss: float, accuracy: float) -> None:
        """The latest step's numbers, and images/s since they were last shown."""
        then, at = self._shown
        self._shown = (step, time.monotonic())
        speed = (step - then) * self._batch_size / (self._shown[1] - at)
        numbers = f"loss {loss:.3f}  accuracy {accuracy:6.1%}  {speed:,.0f} images/s"
        self._progress.update(self._task, completed=step, epoch=epoch, numbers=numbers)

    def epoch(self, record: dict[str, Any]) -> None:
        """One line for an epoch that is over."""
        self._progress.update(self._task, completed=record["step"], epoch=record["epoch"])
        self._progress.console.print(
            "epoch {epoch:3d}  train {train_loss:.3f} {train_accuracy:6.2%}"
            "  test {test_loss:.3f} {test_accuracy:6.2%}"
            "  {images_per_second:,.0f} images/s".format(**record),
            highlight=False,
        )


def print_summary(summary: Summary) -> None:
    """The end of a run as two small tables: the run, and the firing rate of every layer."""
    console = Console()
    run = Table(title=summary.title, show_header=False, title_justify="left")
    run.add_column()
    run.add_column(overflow="fold")  # The folder is there to be copied.
    run.add_row("test accuracy, last epoch", f"{summary.last_accuracy:.2%}")
    run.add_row("test accuracy, best epoch", f"{summary.best_accuracy:.2%} ({summary.best_epoch})")
    run.add_row("parameters", f"{summary.parameters:,} and {summary.scales:,} scales a")
    run.add_row("wall time", f"{summary.seconds:,.0f} s")
    run.add_row("written to", summary.workdir)
    console.print(run)
    if summary.rates:
        layers = Table("neuron layer", title="mean firing rate, share of D", title_justify="left")
        steps = len(next(iter(summary.rates.values())))
        for step in range(steps):
            layers.add_column(f"t={step + 1}", justify="right")
        for layer, rates in summary.rates.items():
            layers.add_row(layer, *(f"{rate:.1%}" for rate in rates))
        console.print(layers)
