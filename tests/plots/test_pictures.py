"""pit_jax.plots: positions, ticks and colors of what the six functions draw."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from pit_jax import plots
from pit_jax.plots import video
from pit_jax.plots.style import COLORS, THEMES, open_axes

SPIKES = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]])
MEMBRANE, SENT = np.array([0.2, 1.3, -0.5, 2.2]), np.array([0.0, 1.0, 0.0, 2.0])
FRAMES = np.zeros((3, 4, 6, 2), np.int32)
FRAMES[0, 0, 0, 1] = FRAMES[1, 3, 5, 0] = 2


def list_ticks(axis) -> list[float]:
    axis.get_figure().canvas.draw()
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_majorticklocs() if low <= tick <= high]


def list_segments(axes, color) -> list[tuple]:
    """Return (x0, x1, y) of all horizontal lines of one color in collections."""
    return [
        (*segment[:, 0].tolist(), round(float(segment[0, 1]), 9))
        for lines in axes.collections
        if hasattr(lines, "get_segments") and to_hex(lines.get_color()[0]) == color
        for segment in lines.get_segments()
    ]


def get_marks(axes):
    """Return the scattered marks of axes."""
    (marks,) = (each for each in axes.collections if not hasattr(each, "get_segments"))
    return marks


def test_a_raster_has_a_mark_for_each_spike_at_its_step_and_neuron():
    figure = plots.raster(jnp.asarray(SPIKES))
    (axes,) = figure.axes
    assert get_marks(axes).get_offsets().tolist() == [[1, 1], [2, 0], [3, 1], [3, 2]]
    assert to_hex(get_marks(axes).get_edgecolor()[0]) == COLORS[0]
    assert axes.get_xlim() == (0.5, 4.5) and axes.get_ylim() == (-0.5, 2.5)
    assert list_ticks(axes.xaxis) == [1, 2, 3, 4] and list_ticks(axes.yaxis) == [0, 1, 2]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time step", "neuron")


def test_counts_in_a_raster_have_colors_and_a_bar_with_integers():
    counts = SPIKES * [1, 2, 4]
    axes, bar = plots.raster(counts, title="$x$").axes
    assert get_marks(axes).get_array().tolist() == [2, 1, 2, 4]
    assert list_ticks(bar.yaxis) == [1, 2, 3, 4] and bar.get_ylabel() == "spike"
    assert axes.get_title(loc="left") == r"\$x\$"


def test_a_raster_of_one_neuron_and_one_of_no_spikes():
    assert get_marks(plots.raster([0, 1, 1]).axes[0]).get_offsets().tolist() == [[2, 0], [3, 0]]
    empty = plots.raster(np.zeros((5, 2))).axes
    assert len(empty) == 1 and len(get_marks(empty[0]).get_offsets()) == 0


def test_marks_of_many_neurons_do_not_overlap():
    axes = plots.raster(np.ones((2, 400))).axes[0]
    axes.get_figure().canvas.draw()
    row = axes.transData.transform([[0, 1], [0, 0]])
    height = np.sqrt(get_marks(axes).get_sizes()[0]) * axes.get_figure().dpi / 72
    assert height <= 2 * (row[0, 1] - row[1, 1])


def test_a_trace_shows_membrane_spikes_levels_and_thresholds_of_each_step():
    scale = np.array([1.0, 1.0, 0.5, 0.5])
    (axes,) = plots.trace(MEMBRANE, SENT, scale=scale, levels=2).axes
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[t, u] for t, u in enumerate(MEMBRANE, 1)]
    assert get_marks(axes).get_offsets().tolist() == [[2, 1], [4, 2]]
    levels = {(t - 0.5, t + 0.5, a * k) for t, a in enumerate(scale, 1) for k in (0, 1, 2)}
    assert set(list_segments(axes, "#999999")) == levels
    thresholds = {(t - 0.5, t + 0.5, a * k) for t, a in enumerate(scale, 1) for k in (0.5, 1.5)}
    assert set(list_segments(axes, COLORS[1])) == thresholds
    assert [text.get_text().strip() for text in axes.texts] == ["k = 0", "k = 1", "k = 2"]
    names = [text.get_text() for text in axes.get_legend().texts]
    assert sorted(names) == ["level a k", "membrane u", "spike s", "threshold"]
    assert list_ticks(axes.xaxis) == [1, 2, 3, 4]


def test_a_trace_of_several_neurons_has_a_panel_for_each_with_its_scale():
    pair = np.stack([MEMBRANE, 2 * MEMBRANE], axis=1)
    panels = plots.trace(pair, scale=[1.0, 2.0], levels=1).axes
    assert [axes.get_ylabel() for axes in panels] == ["u of neuron 0", "u of neuron 1"]
    for axes, top in zip(panels, (1, 2), strict=True):
        assert {y for *_, y in list_segments(axes, "#999999")} == {0, top}
    assert panels[1].lines[0].get_ydata().tolist() == (2 * MEMBRANE).tolist()


def test_thresholds_alone_are_lines_without_levels():
    (axes,) = plots.trace(MEMBRANE, thresholds=1.0).axes
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [1.0]
    assert not axes.collections and not axes.texts


def test_a_heat_map_has_a_cell_for_each_layer_and_step():
    counts = {"first": np.arange(12.0).reshape(2, 3, 2), "$b$": jnp.array([1.0, 2.0])}
    axes, bar = plots.heatmap(counts).axes
    (cells,) = axes.collections
    expected = [[3.5, 5.5, 7.5], [1, 2, np.nan]]
    np.testing.assert_array_equal(cells.get_array().filled(np.nan).reshape(2, 3), expected)
    assert list_ticks(axes.xaxis) == [1, 2, 3]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", r"\$b\$"]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(1, 0): "3.5", (2, 0): "5.5", (3, 0): "7.5", (1, 1): "1", (2, 1): "2"}
    # White numbers on dark cells, black ones on light cells.
    assert [text.get_color() for text in axes.texts][1:4] == ["black", "black", "white"]
    assert axes.get_ylim() == (1.5, -0.5) and bar.get_ylabel() == "spikes per neuron"


def test_a_heat_map_of_many_steps_has_integer_ticks_and_no_numbers():
    axes = plots.heatmap(np.ones((2, 40))).axes[0]
    assert not axes.texts
    assert all(tick == round(tick) for tick in list_ticks(axes.xaxis))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2"]


@pytest.mark.parametrize("theme, ground", [("light", (1, 1, 1)), ("dark", to_rgb("#181b1f"))])
def test_frames_are_orange_for_on_and_blue_for_off_on_the_color_of_the_theme(theme, ground):
    figure = plots.frames(FRAMES, theme=theme)
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes]
    np.testing.assert_allclose(pictures[0][0, 0], to_rgb(COLORS[1]))
    np.testing.assert_allclose(pictures[1][3, 5], to_rgb(COLORS[0]))
    np.testing.assert_allclose(pictures[2], np.broadcast_to(ground, (4, 6, 3)))
    assert [axes.get_title() for axes in figure.axes] == ["t = 1", "t = 2", "t = 3"]
    legend = figure.axes[2].get_legend()
    assert [text.get_text() for text in legend.texts] == ["ON", "OFF"]
    assert not any(len(axes.get_xticks()) for axes in figure.axes)


def test_images_are_gray_or_in_their_own_colors():
    gray = plots.frames(np.arange(8.0).reshape(2, 2, 2)).axes[1].get_images()[0].get_array()
    np.testing.assert_allclose(gray[1, 1], 1)
    np.testing.assert_allclose(gray[0, 0], 4 / 7)
    color = np.full((1, 2, 2, 3), [255, 0, 51], np.uint8)
    shown = plots.frames(color).axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(shown[0, 0], [1, 0, 0.2])
    half = plots.frames(np.full((1, 2, 2, 3), 0.5)).axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(half, 0.5)


def test_frames_are_in_rows(tmp_path):
    figure = plots.frames(np.ones((7, 3, 3)), columns=3)
    figure.canvas.draw()
    tops = [round(axes.get_position().y0, 3) for axes in figure.axes]
    assert len(tops) == 7 and len(set(tops)) == 3 and tops[0] == tops[2] > tops[3]


def test_an_animation_shows_each_frame_with_its_step(tmp_path):
    file = tmp_path / "new" / "film.gif"
    animation = plots.animate(FRAMES, file, fps=4.0, title="$a$")
    with Image.open(file) as film:
        assert (film.n_frames, film.info["duration"]) == (3, 250)
        seen = [np.asarray(film.convert("RGB")) for _ in [film.seek(0)]]
        film.seek(1)
        seen.append(np.asarray(film.convert("RGB")))
    assert (seen[0] != seen[1]).any()
    picture, label = animation._func(1)
    np.testing.assert_allclose(picture.get_array()[3, 5], to_rgb(COLORS[0]))
    assert label.get_text() == r"\$a\$  t = 2 of 3"


def test_a_film_needs_a_known_suffix_and_its_program(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"path must end in .gif or .mp4, got film.avi"):
        plots.animate(FRAMES, "film.avi")
    monkeypatch.setattr(video.writers, "is_available", lambda name: False)
    with pytest.raises(ValueError, match=".mp4 needs the program ffmpeg, which was not found"):
        plots.animate(FRAMES, tmp_path / "film.mp4")
    saved = []
    monkeypatch.setattr(video.writers, "is_available", lambda name: True)
    monkeypatch.setattr(video.FuncAnimation, "save", lambda *args, **how: saved.append(how))
    plots.animate(FRAMES, tmp_path / "film.mp4", fps=2.0)._draw_was_started = True
    assert saved == [{"writer": "ffmpeg", "fps": 2.0}]


def test_the_neuron_shows_membranes_quotients_counts_and_spikes():
    u = np.array([[0.4, 2.0], [0.6, 8.0], [1.2, -3.0], [9.0, 3.0]])
    figure = plots.neuron(u, [1.0, 2.0], levels=2)
    (axes,) = figure.axes
    membrane, quotient, count, spike = axes.child_axes
    titles = [panel.get_title() for panel in axes.child_axes]
    assert titles == ["membrane $u$", "transformed, $u / a$", "count $k$", "spike $s = a k$"]
    # round half up: 0, 1, 1, 2 and 1, 2, 0, 2.
    assert [bar.get_height() for bar in count.patches] == [1, 2, 1, 1, 1, 2]
    colors = [to_hex(bar.get_facecolor()) for bar in count.patches]
    assert colors == [COLORS[0]] * 3 + [COLORS[1]] * 3
    assert count.get_xticks().tolist() == [0, 1, 2]
    assert [line.get_xdata()[0] for line in quotient.lines] == [0.5, 1.5]
    centers = [bar.get_x() + bar.get_width() / 2 for bar in spike.patches]
    np.testing.assert_allclose(centers, [0, 1, 2, 0, 2, 4], atol=1e-9)
    assert sum(bar.get_height() for bar in membrane.patches) == 8
    words = " ".join(text.get_text() for text in axes.texts)
    for part in ("weights", "round,\nclip to 0…D", "soft reset", "binary spikes in D slots"):
        assert part in words
    slots = [text.get_text() for text in axes.texts if text.get_text() in ("0", "1")]
    assert slots == ["1", "0"]


def test_texts_of_the_neuron_shrink_with_the_given_axes():
    axes = Figure(figsize=(4.9, 3), dpi=100).add_axes((0, 0, 1, 1))
    plots.neuron(ax=axes)
    assert axes.texts[0].get_fontsize() == 4.5


def test_the_neuron_by_default_has_the_scale_of_equation_12():
    quotient = plots.neuron().axes[0].child_axes[1]
    # (|mean| + 3 sd) / sqrt(4): both channels get the same share of the range, 2 sqrt(D) / 3.
    assert len(quotient.lines) == 4
    assert quotient.get_xlim()[1] < 4


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda **how: plots.raster(SPIKES * 2, **how),
        lambda **how: plots.trace(MEMBRANE, SENT, levels=2, title="a", **how),
        lambda **how: plots.heatmap({"a": [1.0, 2.0]}, title="a", **how),
        lambda **how: plots.frames(FRAMES, title="a", **how),
        lambda **how: plots.neuron(**how),
    ],
    ids=["raster", "trace", "heatmap", "frames", "neuron"],
)
def test_texts_ticks_and_ground_have_the_colors_of_the_theme(draw, theme):
    ink, paper = THEMES[theme]
    figure = draw(theme=theme)
    figure.canvas.draw()
    assert to_hex(figure.get_facecolor()) == paper
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            assert to_hex(axis.label.get_color()) == ink
            assert {to_hex(label.get_color()) for label in axis.get_ticklabels()} <= {ink}
        assert {to_hex(line.get_edgecolor()) for line in axes.spines.values()} <= {ink}
        assert to_hex(axes.title.get_color()) == ink
        for legend in filter(None, [axes.get_legend()]):
            assert {to_hex(text.get_color()) for text in legend.texts} == {ink}


def test_given_axes_are_drawn_in_and_keep_their_colors():
    figure = Figure(facecolor="#102030")
    upper, lower = figure.subplots(2)
    upper.set_facecolor("#203040")
    assert plots.raster(SPIKES, ax=upper) is figure
    assert plots.trace(MEMBRANE, ax=[lower]) is figure
    assert to_hex(upper.get_facecolor()) == "#203040" and len(upper.collections) == 1
    plots.heatmap({"a": [1.0]}, ax=lower, theme="dark")
    assert to_hex(lower.get_facecolor()) == THEMES["dark"][1]
    with pytest.raises(ValueError, match="this figure needs 3 axes, got 1"):
        plots.frames(FRAMES, ax=upper)


def test_notebooks_show_a_figure():
    assert plots.raster(SPIKES)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda: plots.raster(np.ones((2, 3, 4))), r"got the shape \(2, 3, 4\)"),
        (lambda: plots.raster([0, np.nan]), "spikes must be finite"),
        (lambda: plots.raster("spikes"), "spikes must be an array of real numbers, got <U6"),
        (lambda: plots.raster([[1], [1, 0]]), r"of real numbers, got \[\[1\], \[1, 0\]\]"),
        (lambda: plots.raster(SPIKES * 1j), "of real numbers, got complex128"),
        (
            lambda: plots.raster(SPIKES, theme="blue"),
            "theme must be one of light, dark, got 'blue'",
        ),
        (lambda: plots.trace(np.ones((4, 13))), "at most 12 neurons, got 13"),
        (lambda: plots.trace(MEMBRANE, SENT[:3]), r"membrane's shape \(4,\), got \(3,\)"),
        (lambda: plots.trace(MEMBRANE, scale=[1.0, 2.0]), r"got the shape \(2,\)"),
        (lambda: plots.trace(MEMBRANE, levels=0), "levels must be at least 1, got 0"),
        (lambda: plots.trace(MEMBRANE, levels=2.5), "levels must be a whole number, got 2.5"),
        (lambda: plots.trace(MEMBRANE, scale="a"), "scale must be an array of real numbers"),
        (lambda: plots.trace(MEMBRANE, thresholds=np.nan), "thresholds must be finite"),
        (lambda: plots.trace(MEMBRANE, thresholds=np.ones((2, 2))), r"\[K\], got the shape"),
        (lambda: plots.heatmap({}), "counts has no layers"),
        (lambda: plots.heatmap(np.ones(3)), r"\[layers, T\], or a dict of layers, got the shape"),
        (lambda: plots.frames(np.ones((2, 3, 3, 4))), r"got the shape \(2, 3, 3, 4\)"),
        (lambda: plots.frames(np.ones((61, 2, 2))), "at most 60 frames, got 61"),
        (lambda: plots.frames(FRAMES, columns=0), "columns must be at least 1, got 0"),
        (lambda: plots.frames(FRAMES, columns=2.0), "columns must be a whole number, got 2.0"),
        (lambda: plots.animate(FRAMES, fps=0.0), "fps must be more than 0, got 0"),
        (lambda: plots.animate(FRAMES, fps="5"), "fps must be a finite number, got '5'"),
        (lambda: plots.neuron(levels="4"), "levels must be a whole number, got '4'"),
        (lambda: plots.neuron(np.ones((3, 7))), "at most 6 channels, got 7"),
        (lambda: plots.neuron(np.ones((3, 2)), [1.0] * 3), r"a number or \[2\], got the shape"),
        (lambda: plots.neuron(scale=-1.0), "scale must be above 0, got -1"),
    ],
)
def test_wrong_arrays_raise(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_a_neuron_of_many_levels_has_few_ticks_and_slots():
    (axes,) = plots.neuron(levels=40).axes
    _, quotient, count, _ = axes.child_axes
    assert len(list_ticks(count.xaxis)) < 12 and quotient.get_xlim()[1] < 10
    assert [each.get_text() for each in axes.texts].count("…") == 1


def test_axes_of_another_kind_raise():
    with (
        pytest.raises(ValueError, match="ax must be axes of matplotlib, .*, got <Figure size"),
        open_axes(Figure(), None, height=1.0, width=1.0),
    ):
        pass


def test_the_error_without_matplotlib_names_the_extra():
    lines = "import sys; sys.modules['matplotlib'] = None; import pit_jax.plots"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert "ImportError: figures need matplotlib: pip install 'pit-jax[plots]'." in done.stderr
