"""The terminal output of a run."""

import io
from functools import partial

import pytest

from train.records.progress import Display
from train.terminal import Terminal


@pytest.fixture
def screen() -> Terminal:
    """Return a terminal with 120 columns."""
    options = {"force_terminal": True, "width": 120, "color_system": None}
    return Terminal(file=io.StringIO(), **options)


def test_the_bar_shows_epoch_step_loss_accuracy_and_speed(screen):
    now = [100.0]
    clock = partial(now.__getitem__, 0)
    with Display(total_steps=40, batch_size=32, console=screen, clock=clock) as shown:
        shown.begin(10)
        assert not shown.is_due()
        now[0] += 2.0
        assert shown.is_due()
        shown.show_step(epoch=2, step=15, loss=0.5, accuracy=0.875)
        assert not shown.is_due()
    # Five steps of 32 images in two seconds.
    line = screen.file.getvalue()
    for part in ("epoch 2", "15/40", "loss 0.500", "accuracy  87.5%", "80 images/s"):
        assert part in line


def test_the_bar_shows_compiling_before_the_first_step(screen):
    with Display(total_steps=40, batch_size=32, console=screen):
        pass
    assert "compiling" in screen.file.getvalue()


def test_all_lines_begin_with_the_label(screen):
    record = {"step": 20, "epoch": 2, "train_loss": 1.25, "train_accuracy": 0.5}
    with Display(total_steps=40, batch_size=32, label="seed 3: ", console=screen) as shown:
        shown.note("resuming")
        shown.begin(0)
        shown.show_epoch(record | {"images_per_second": 1234.5})
    for line in ("seed 3: resuming", "seed 3: epoch   2  train 1.250 50.00%  1,234 images/s"):
        assert line in screen.file.getvalue()


def test_an_epoch_prints_a_line(screen):
    record = {
        "step": 20,
        "epoch": 2,
        "train_loss": 1.25,
        "train_accuracy": 0.5,
        "test_loss": 0.75,
        "test_accuracy": 0.625,
        "images_per_second": 1234.5,
    }
    with Display(total_steps=40, batch_size=32, console=screen) as shown:
        shown.begin(0)
        shown.show_epoch(record)
    assert (
        "epoch   2  train 1.250 50.00%  test 0.750 62.50%  1,234 images/s" in screen.file.getvalue()
    )


def test_the_line_of_an_epoch_has_its_split_and_metrics(screen):
    record = {
        "step": 20,
        "epoch": 2,
        "train_loss": 1.25,
        "train_accuracy": 0.5,
        "validation_loss": 0.75,
        "validation_accuracy": 0.625,
        "validation_top5": 0.98761,
        "validation_margin": None,
        "images_per_second": 1234.5,
    }
    with Display(total_steps=40, batch_size=32, console=screen) as shown:
        shown.begin(0)
        shown.show_epoch(record)
    assert (
        "epoch   2  train 1.250 50.00%  validation 0.750 62.50%  top5 0.9876  margin –  1,234 "
        "images/s"
    ) in screen.file.getvalue()
