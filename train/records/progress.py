"""The terminal output of a run: its progress, and tables of its results."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pit_jax.display import show_name

from ..run.reading import find_split, select_metrics
from ..run.summary import Summary
from ..terminal import Terminal

REFRESH_SECONDS = 0.5
MOST_CLASSES = 20
SPIKES = "spikes of a neuron"


class Display:
    """A progress bar over the steps of a run, and a line for each epoch.

    A log file gets only the lines, and a `quiet` display shows nothing. All lines begin with
    `label`. Tests replace `console` and `clock`.
    """

    def __init__(
        self,
        total_steps: int,
        batch_size: int,
        quiet: bool = False,
        *,
        label: str = "",
        console: Terminal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._label = clock, label
        self._progress = Progress(
            TextColumn(f"{label}epoch {{task.fields[epoch]}}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console or Terminal(quiet=quiet),
        )
        self._task = self._progress.add_task("", total=total_steps, epoch="-", numbers="compiling")
        self._batch_size = batch_size

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def begin(self, step: int) -> None:
        """Start to measure images/s at `step`."""
        self._progress.update(self._task, completed=step, numbers="")
        self._shown = (step, self._clock())

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        # Not wrapped, because a path in it could not be copied.
        self._progress.console.print(f"{self._label}{text}", soft_wrap=True)

    def is_due(self) -> bool:
        """Return whether to show new numbers.

        Not after every step: reading them makes the host wait for the device.
        """
        return self._clock() - self._shown[1] > REFRESH_SECONDS

    def show_step(self, epoch: int, step: int, loss: float, accuracy: float) -> None:
        """Show loss and accuracy of the latest step, and images/s since the last call."""
        then, at = self._shown
        self._shown = (step, self._clock())
        speed = (step - then) * self._batch_size / (self._shown[1] - at)
        numbers = f"loss {loss:.3f}  accuracy {accuracy:6.1%}  {speed:,.0f} images/s"
        self._progress.update(self._task, completed=step, epoch=epoch, numbers=numbers)

    def show_epoch(self, record: dict[str, Any]) -> None:
        """Print the line of a finished epoch."""
        self._progress.update(self._task, completed=record["step"], epoch=record["epoch"])
        parts = [f"{self._label}epoch {record['epoch']:3d}"]
        for split in ("train", find_split([record])):
            if f"{split}_loss" in record:  # Not every epoch is evaluated.
                loss, accuracy = record[f"{split}_loss"], record[f"{split}_accuracy"]
                parts.append(f"{split} {loss:.3f} {accuracy:6.2%}")
        parts += [f"{name} {_format(value)}" for name, value in select_metrics(record).items()]
        parts.append(f"{record['images_per_second']:,.0f} images/s")
        self._progress.console.print("  ".join(parts))


def print_summary(summary: Summary) -> None:
    """Print two tables of a finished run: its results, and the firing rate of every layer."""
    console = Terminal()
    run = Table(title=summary.title, show_header=False, title_justify="left")
    run.add_column()
    run.add_column(overflow="fold")  # A truncated path could not be copied.
    run.add_row("test accuracy, last epoch", f"{summary.last_accuracy:.2%}")
    run.add_row("test accuracy, best epoch", f"{summary.best_accuracy:.2%} ({summary.best_epoch})")
    if summary.validation_accuracy is not None:
        run.add_row("validation accuracy, best epoch", f"{summary.validation_accuracy:.2%}")
    for name, value in summary.metrics.items():
        run.add_row(f"{name}, last epoch", _format(value))
    run.add_row(SPIKES, _format_spikes(summary.spikes))
    run.add_row("parameters", f"{summary.parameters:,} and {summary.scales:,} scales a")
    run.add_row("wall time", f"{summary.seconds:,.0f} s")
    run.add_row("written to", show_name(summary.workdir))
    console.print(run)
    _print_rates(console, summary.rates)


def print_evaluation(result: Mapping[str, Any], out: Path) -> None:
    """Print the results of train.evaluate as tables: overall, by class, by layer."""
    console = Terminal()
    found = Table(title=result["title"], show_header=False, title_justify="left")
    found.add_column()
    found.add_column(overflow="fold")
    found.add_row("checkpoint", f"{result['checkpoint']}, step {result['step']:,}")
    images = f"{result['images']:,}, {result['data']} {result['split']}"
    if result["note"]:
        images = f"{result['images']:,} in {show_name(result['split'])}; {result['note']}"
    found.add_row("images", images)
    found.add_row("accuracy", f"{result['accuracy']:.2%}")
    if "top5_accuracy" in result:  # Evaluations of fewer than six classes have none.
        found.add_row("label among the first five", f"{result['top5_accuracy']:.2%}")
    found.add_row(f"loss ({result['loss_name']})", f"{result['loss']:.4f}")
    found.add_row("negative log-likelihood", f"{result['negative_log_likelihood']:.4f}")
    found.add_row(SPIKES, _format_spikes(result["spikes"]))
    found.add_row("expected calibration error", f"{result['calibration']['error']:.2%}")
    for name, value in result["metrics"].items():
        found.add_row(name, _format(value))
    found.add_row("written to", show_name(f"{out} and {out.with_suffix('.png').name}"))
    console.print(found)
    console.print(_make_class_table(result))
    _print_rates(console, result["rates"])


def _format(value: float | None) -> str:
    """Return the value of a metric with four digits, or a dash if it was not finite."""
    return "–" if value is None else f"{value:.4g}"


def _format_spikes(spikes: float) -> str:
    return f"{spikes:.3f}, summed over the steps"


def _make_class_table(result: Mapping[str, Any]) -> Table:
    """Return a table of accuracy and most frequent mistake by class.

    Of many classes, only those with the lowest accuracy are shown.
    """
    names, confusion = result["classes"], result["confusion"]
    seen = [(a, k) for k, a in enumerate(result["accuracy_of_class"]) if a is not None]
    shown = seen if len(seen) <= MOST_CLASSES else sorted(seen)[:MOST_CLASSES]
    title = "accuracy of each class"
    if len(shown) < len(seen):
        title = f"the {MOST_CLASSES} classes of lowest accuracy, of {len(seen)}"
    table = Table("class", title=title, title_justify="left")
    table.add_column("images", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("most often taken for")
    for accuracy, k in shown:
        wrong = [(count, j) for j, count in enumerate(confusion[k]) if j != k and count]
        count, j = max(wrong, default=(0, k), key=lambda each: each[0])
        mistake = f"{show_name(names[j])} ({count:,})" if count else ""
        table.add_row(show_name(names[k]), f"{sum(confusion[k]):,}", f"{accuracy:.2%}", mistake)
    return table


def _print_rates(console: Terminal, rates: Mapping[str, list[float]]) -> None:
    if not rates:
        return
    layers = Table(title="mean firing rate, share of D", title_justify="left")
    layers.add_column("neuron layer", overflow="fold")
    for step in range(max(map(len, rates.values()))):
        layers.add_column(f"t={step + 1}", justify="right")
    for layer, of_steps in rates.items():
        layers.add_row(layer, *(f"{rate:.1%}" for rate in of_steps))
    console.print(layers)
