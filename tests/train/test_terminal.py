"""The terminal prints names as text: no markup, emoji codes or control sequences."""

import io
import re
from pathlib import Path

import pytest
from rich.table import Table

from train.records.progress import Display, print_evaluation, print_summary
from train.run.summary import Summary
from train.terminal import Terminal, track

NAMES = [
    "runs/a[1]",
    "[bold]runs[/bold]",
    "[/]",
    "runs/[link=http://a.b]x[/link]",
    "runs/:dog:",
    "\\[red]",
    "{task.speed}",
    "100%",
    "[not closed",
]


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def screen(request) -> Terminal:
    options = {"force_terminal": request.param, "width": 200, "color_system": None}
    return Terminal(file=io.StringIO(), **options)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_text_wherever_they_are(screen, name):
    table = Table(name, title=f"{name} title", caption=f"{name} caption")
    table.add_column(f"{name} column")
    table.add_row(f"{name} cell", name)
    screen.print(f"written to {name}")
    screen.print(table)
    with Display(40, 32, console=screen) as shown:
        shown.begin(0)
        shown.note(f"resuming in {name}")
    list(track([1], f"reading {name}", console=screen))
    with screen.status(f"waiting for {name}"):
        pass
    printed = screen.file.getvalue()
    for part in (
        "written to {}",
        "resuming in {}",
        "{} title",
        "{} column",
        "{} cell",
        "reading {}",
    ):
        assert part.format(name) in printed


def test_control_characters_in_names_never_reach_the_terminal(screen):
    name = "a\x1b]0;title\x07\x9b2J\rb"
    screen.print(f"written to {name}")
    screen.print(Table("a" * 40, title=name))
    list(track([1], name, console=screen))
    printed = screen.file.getvalue()
    assert "\x1b]0" not in printed and "\x9b" not in printed
    assert printed.count(r"a\x1b]0;title\x07\x9b2J\rb") >= 3


def test_in_the_shell_of_a_notebook_bars_and_colors_are_not_drawn(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen = Terminal(file=io.StringIO())
    with Display(40, 32, console=screen) as shown:
        shown.note("a line")
    assert "\x1b" not in screen.file.getvalue() and "a line\n" in screen.file.getvalue()


def test_a_long_path_in_a_note_is_not_wrapped():
    screen = Terminal(file=io.StringIO(), force_terminal=False, width=40)
    with Display(40, 32, console=screen) as shown:
        shown.note(f"resuming in {'a/' * 60}b")
    assert f"resuming in {'a/' * 60}b" in screen.file.getvalue()


def test_results_show_all_names_as_text(tmp_path, capsys):
    odd = "[red]$a$:dog:"
    summary = Summary(
        odd, f"{tmp_path}/{odd}", 0.5, 0.5, 1, 10, 2, 3.0, 0.5, 0.25, {odd: [0.5]}, None, {odd: 1.0}
    )
    print_summary(summary)
    printed = capsys.readouterr().out
    assert printed.count(odd) >= 3 and "🐶" not in printed
    result = {
        **{
            "title": odd,
            "checkpoint": "last",
            "step": 1,
            "images": 3,
            "data": odd,
            "split": "test",
        },
        **{"note": odd, "accuracy": 0.5, "top5_accuracy": 0.5, "loss": 1.0, "loss_name": odd},
        **{"negative_log_likelihood": 1.0, "calibration": {"error": 0.1}, "metrics": {odd: 1.0}},
        **{"classes": [odd, "two\nlines"], "confusion": [[1, 1], [1, 0]]},
        **{"accuracy_of_class": [0.5, 0.0], "rates": {odd: [0.5]}, "spikes": 0.5},
    }
    print_evaluation(result, tmp_path / f"{odd}.json")
    printed = capsys.readouterr().out
    assert printed.count(odd) >= 7 and r"two\nlines" in printed and "🐶" not in printed


def test_only_the_terminal_makes_consoles_and_bars_with_descriptions():
    root = Path(__file__).parents[2]
    found = {
        file.relative_to(root).as_posix()
        for file in (root / "train").rglob("*.py")
        if re.search(
            r"from rich\.(console|progress) import .*\b(Console|track)\b", file.read_text()
        )
    }
    assert found == {"train/terminal.py"}
