"""Colors on light and dark paper, integer ticks, and names in scripts without a font."""

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from pit_jax.plots import names as fonts
from pit_jax.plots import style
from pit_jax.plots.layers import MOST_BARS, draw_rates


def measure_contrast(one, other) -> float:
    low, high = sorted(map(style.measure_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", style.THEMES)
def test_every_color_is_visible_on_the_paper(theme):
    ink, paper = style.THEMES[theme]
    for color in (*style.COLORS, style.GRAY, *style.shades(7), *style.MARKS([0.0, 1.0])):
        assert measure_contrast(color, paper) >= 1.9
    assert measure_contrast(ink, paper) > 10


def test_luminance_follows_the_web_guidelines():
    assert style.measure_luminance("white") == pytest.approx(1)
    assert style.measure_luminance("black") == 0
    assert style.measure_luminance("#808080") == pytest.approx(0.2159, abs=1e-4)
    assert (style.choose_ink("#ffff00"), style.choose_ink("#440154")) == ("black", "white")


@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 30])
def test_ticks_are_integers_however_few_epochs_there_are(epochs):
    axes = style.figure(2.0).subplots()
    axes.plot(np.arange(epochs) + 1, np.ones(epochs), marker="o")
    style.use_integer_ticks(axes.xaxis)
    axes.get_figure().canvas.draw()
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks and all(tick == round(tick) for tick in ticks)
    if epochs <= 5:
        assert ticks == list(range(1, epochs + 1))


def test_runs_of_a_comparison_differ_in_color_or_line():
    styles = [style.style_run(i) for i in range(12)]
    assert len({str(each) for each in styles}) == 12
    assert all(each["linestyle"] != ":" for each in styles)


def test_few_steps_are_bars_with_error_bars_in_the_color_of_text():
    percent = np.array([[10.0, 20.0], [30.0, np.nan]])
    with matplotlib.rc_context({"text.color": "#010203"}):
        axes = Figure().subplots()
        draw_rates(axes, percent, ["a", "b"], "rate", np.ones((2, 2, 2)))
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in axes.patches]
    np.testing.assert_allclose(bars, [[-0.21, 10], [0.79, 30], [0.21, 20], [1.21, np.nan]])
    assert [text.get_text() for text in axes.get_legend().texts] == ["t = 1", "t = 2"]
    lines = [bars.errorbar.lines[2][0] for bars in axes.containers if hasattr(bars, "errorbar")]
    assert {tuple(line.get_color()[0][:3] * 255) for line in lines} == {(1, 2, 3)}


def test_many_steps_are_one_heat_map_instead_of_bars():
    axes = Figure().subplots()
    draw_rates(axes, np.arange(70.0).reshape(7, 10), list("abcdefg"), "rate")
    assert MOST_BARS < 10 and not axes.patches and len(axes.collections) == 1
    assert len(axes.texts) == 70 and axes.texts[69].get_text() == "69.0"


def test_names_that_a_font_can_draw_stay():
    found = fonts.fit_names(["cat", "Größe", "пингвин", "\u200b_x", "a\tb"])
    assert found.texts == ["cat", "Größe", "пингвин", "\u200b_x", "a\tb"] and not found.note
    assert found.families == list(font_manager.FontProperties().get_family())


def test_names_without_a_font_become_numbers_with_a_note(monkeypatch):
    monkeypatch.setattr(fonts, "_list_regular", lambda: [])
    found = fonts.fit_names(["cat", "犬", "b犬"])
    assert found.texts == ["cat", "class 1", "class 2"] and found.note == fonts.NOTE


def test_an_installed_font_is_chosen_for_the_characters_that_it_has(monkeypatch):
    entry = font_manager.FontEntry(fname="cjk", name="Own Sans", style="normal", weight=400)
    own = {"cjk": frozenset("犬猫")}
    read = fonts._read_characters
    monkeypatch.setattr(fonts, "_list_regular", lambda: [entry])
    monkeypatch.setattr(fonts, "_read_characters", lambda file: own.get(file) or read(file))
    found = fonts.fit_names(["犬", "猫x", "𒀀"])
    assert found.texts == ["犬", "猫x", "class 2"] and found.families[-1] == "Own Sans"
