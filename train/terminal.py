"""The terminal of all programs: a console and progress bars that print text as it is."""

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.text import Text

from pit_jax.display import show_text

T = TypeVar("T")


class Terminal(Console):
    """A console for which every string is plain text.

    Rich would read markup in `runs/a[bold]` and an emoji in `runs/:dog:`, and would pass control
    characters on.
    """

    def __init__(self, **options: Any) -> None:
        out = options.get("file") or (sys.stderr if options.get("stderr") else sys.stdout)
        if not out.isatty():
            # Jupyter sets FORCE_COLOR for its shells, so Rich would draw bars into their pipes.
            options.setdefault("force_terminal", False)
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as text, with control characters visible."""
        return super().render_str(show_text(text), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Return a line with a spinner, shown while it is entered."""
        # A spinner reads markup in strings, whatever its console does.
        shown = self.render_str(status) if isinstance(status, str) else status
        return super().status(shown, **options)


def track(
    items: Iterable[T],
    description: str = "",
    total: float | None = None,
    *,
    console: Console | None = None,
) -> Iterable[T]:
    """Yield the items while a bar shows the progress through them, as `rich.progress.track`."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console or Terminal()) as progress:
        yield from progress.track(items, total=total, description=show_text(description))
