"""Pictures of networks in SVG: every layer as a bar, and blocks in detail."""

import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle

from docs._build.pictures.graph import Branch, Picture, TextNode
from pit_jax.models.trace import Node

WIDTH = 1000  # All lengths are in pixels of a picture of this width.
MARGIN = 14
INK, SOFT, FAINT = "#222222", "#555555", "#9a9a9a"
# The colors of Okabe and Ito, lighter where text is on them.
COLORS = {
    "conv": "#56b4e9",
    "linear": "#0072b2",
    "norm": "#c8c8c8",
    "neuron": "#e69f00",
    "max pool": "#009e73",
    "average pool": "#7fcfb5",
    "mean": "#7fcfb5",
    "sum": "#7fcfb5",
    "synapse": "#dd9fc2",
    "current": "#f0e442",
    "attention": "#e58a4e",
}
SIGNS = {"add": "+", "product": "×", "sum": "Σ", "accumulator": "Σ"}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pit_jax",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 10,
}


def draw_network(title: str, network: Picture, zooms: Sequence[tuple[str, Picture]]) -> str:
    """Return the SVG of the whole network with the zooms below it, each under its caption."""
    with matplotlib.rc_context(STYLE):
        return to_svg(draw_figure(title, network, zooms), title)


def draw_zooms(title: str, zooms: Sequence[tuple[str, Picture]]) -> str:
    """Return the SVG of the zooms alone, each under its caption."""
    with matplotlib.rc_context(STYLE):
        figure, axes = _make_canvas(
            title, 40 + sum(_get_zoom_height(picture) for _, picture in zooms)
        )
        _draw_legend(axes, [node for _, picture in zooms for node in _list_nodes(picture)], 20)
        _draw_zooms(axes, zooms, 40.0)
        return to_svg(figure, title)


def to_svg(figure: Figure, title: str) -> str:
    """Return a figure as SVG, the same on every machine."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    # Builds of the font library differ in later digits; a hundredth of a point is enough.
    text = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", buffer.getvalue())
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def draw_figure(title: str, network: Picture, zooms: Sequence[tuple[str, Picture]]) -> Figure:
    """Return the picture of `draw_network` as a matplotlib figure."""
    bars = _Bars(network)
    heights = [bars.height, *(_get_zoom_height(picture) for _, picture in zooms)]
    figure, axes = _make_canvas(title, 34 + sum(heights))
    _draw_legend(axes, _list_nodes(network), 20)
    bars.draw(axes, 34.0)
    _draw_zooms(axes, zooms, 34.0 + bars.height)
    return figure


def _make_canvas(title: str, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.axis("off")
    axes.text(MARGIN, 20, title, fontsize=13, fontweight="bold", color=INK, va="center")
    return figure, axes


def _draw_zooms(axes: Axes, zooms: Sequence[tuple[str, Picture]], top: float) -> None:
    for caption, picture in zooms:
        _draw_zoom(axes, caption, picture, top)
        top += _get_zoom_height(picture)


class _Bars:
    """The overview: a bar for each layer on the main path, as high as its map; shortcuts above."""

    TALL, LANE, BELOW = 120.0, 9.0, 66.0

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.height = self.TALL + picture.lanes * self.LANE + self.BELOW + 34
        self._groups = _group_layers(picture.path)
        self._names = _name_groups(picture.path, self._groups)
        self._largest = max(_get_side(node) for node in picture.path)
        # The widest bars for which all labels fit.
        self._pitch = 20.0
        while sum(widths := self._get_widths()) > WIDTH - 2 * MARGIN:
            self._pitch -= 0.1
        self._x = []
        left = (WIDTH - sum(widths)) / 2
        for members, width in zip(self._groups, widths, strict=True):
            first = left + (width - self._pitch * (len(members) - 1)) / 2
            self._x += [first + self._pitch * i for i in range(len(members))]
            left += width

    def _get_widths(self) -> list[float]:
        rooms = (max(54.0, 6.5 * len(name)) for name in self._names)
        bars = (self._pitch * len(members) + 10 for members in self._groups)
        return [max(pair) for pair in zip(rooms, bars, strict=True)]

    def draw(self, axes: Axes, top: float) -> None:
        path = self.picture.path
        middle = top + 24 + self.picture.lanes * self.LANE + self.TALL / 2
        axes.plot([self._x[0], self._x[-1]], [middle] * 2, color=FAINT, lw=1, zorder=0)
        for node, x in zip(path, self._x, strict=True):
            self._draw_bar(axes, node, x, middle, self._pitch * 0.8, self._get_bar_height(node))
        for branch in self.picture.branches:
            self._draw_branch(axes, branch, middle)
        for name, members in zip(self._names, self._groups, strict=True):
            self._draw_label(axes, name, members, middle + self.TALL / 2 + 8)

    def _get_bar_height(self, node: Node) -> float:
        if node.kind in ("add", "product"):
            return 0.0
        return self.TALL * (1 + math.log2(_get_side(node))) / (1 + math.log2(self._largest))

    def _draw_bar(
        self, axes: Axes, node: Node, x: float, middle: float, wide: float, tall: float
    ) -> None:
        if node.kind in ("add", "product"):
            _draw_sign(axes, node, x, middle, max(4.2, min(wide * 0.62, 7)), 8)
        elif node.kind == "input":
            corner = (x - wide / 2, middle - tall / 2)
            axes.add_patch(Rectangle(corner, wide, tall, fc="white", ec=INK, lw=1))
        else:
            corner = (x - wide / 2, middle - tall / 2)
            axes.add_patch(Rectangle(corner, wide, tall, fc=COLORS[node.kind], ec="none"))

    def _draw_branch(self, axes: Axes, branch: Branch, middle: float) -> None:
        path, (fork, join) = self.picture.path, (branch.fork, branch.join)
        lane = middle - self.TALL / 2 - branch.lane * self.LANE
        # A branch leaves after its first bar, where the main path does.
        start = (self._x[fork] + self._x[fork + 1]) / 2
        end = self._x[join]
        bottom = middle - (6 if path[join].kind in SIGNS else self._get_bar_height(path[join]) / 2)
        points = [(start, middle), (start, lane), (end, lane), (end, bottom)]
        axes.plot(*zip(*points, strict=True), color=INK, lw=0.9, solid_joinstyle="round", zorder=3)
        side = min(self._pitch * 0.7, 6.5)
        for i, node in enumerate(branch.nodes, start=1):
            x = start + (end - start) * i / (len(branch.nodes) + 1)
            corner = (x - side / 2, lane - side / 2)
            patch = Rectangle(corner, side, side, fc=COLORS[node.kind], ec=INK, lw=0.5, zorder=4)
            axes.add_patch(patch)

    def _draw_label(self, axes: Axes, name: str, members: Sequence[int], y: float) -> None:
        left, right = self._x[members[0]], self._x[members[-1]]
        half = self._pitch * 0.4
        axes.plot([left - half, right + half], [y, y], color=INK, lw=1)
        repeats = self.picture.repeats[members[0]]
        lines = [name, *_format_map(self.picture.path[members[-1]])]
        if repeats > 1:
            lines[0] += f" ×{repeats}"
        for i, line in enumerate(lines):
            color, weight = (INK, "bold") if i == 0 else (SOFT, "normal")
            text: dict[str, Any] = {
                "ha": "center",
                "va": "center",
                "color": color,
                "fontweight": weight,
            }
            axes.text((left + right) / 2, y + 11 + 13 * i, line, fontsize=8, **text)


def _get_zoom_height(picture: Picture) -> float:
    return 34 + 70 + 58 * picture.lanes + 26


def _draw_zoom(axes: Axes, caption: str, picture: Picture, top: float) -> None:
    """Draw a block with one box per layer, between two arrows."""
    path = picture.path
    axes.plot([MARGIN, WIDTH - MARGIN], [top, top], color="#dddddd", lw=1)
    axes.text(MARGIN, top + 20, caption, fontsize=10.5, fontweight="bold", color=INK, va="center")
    main = top + 40 + 58 * picture.lanes + 32
    # Signs take less room than boxes; 210 pixels are for the arrows and sizes at both ends.
    rooms = [0.45 if node.kind in SIGNS else 1.0 for node in path[1:]]
    pitch = min(108.0, (WIDTH - 2 * MARGIN - 210) / sum(rooms))
    wide = pitch - 18
    xs = [(WIDTH - pitch * sum(rooms)) / 2 - 26]
    left = xs[0] + 26
    for room in rooms:
        xs.append(left + pitch * room / 2)
        left += pitch * room
    for i, node in enumerate(path[1:], start=1):
        start = xs[i - 1] + (_get_half_width(path[i - 1], wide) if i > 1 else 0)
        _draw_arrow(axes, (start, main), (xs[i] - _get_half_width(node, wide), main))
    end = xs[-1] + _get_half_width(path[-1], wide)
    _draw_arrow(axes, (end, main), (end + 30, main))
    _draw_size(axes, path[0], xs[0] - 4, main, "right")
    _draw_size(axes, path[-1], end + 34, main, "left")
    for branch in picture.branches:
        lane = main - 8 - 58 * branch.lane
        fork = xs[branch.fork]
        start = fork + (_get_half_width(path[branch.fork], wide) if branch.fork else 0) + 5
        join = xs[branch.join]
        points = [(start, main), (start, lane), (join, lane)]
        axes.plot(*zip(*points, strict=True), color=INK, lw=1.2, solid_joinstyle="round", zorder=1)
        _draw_arrow(
            axes, (join, lane), (join, main - (12 if path[branch.join].kind in SIGNS else 20))
        )
        for i, node in enumerate(branch.nodes, start=1):
            x = start + (join - start) * i / (len(branch.nodes) + 1)
            _draw_box(axes, node, x, lane, min(wide, (join - start) / (len(branch.nodes) + 1) - 8))
        if not branch.nodes and branch.join - branch.fork > 2:
            axes.text(
                (start + join) / 2, lane - 8, "identity", ha="center", fontsize=8.5, color=SOFT
            )
    for node, x in zip(path[1:], xs[1:], strict=True):
        _draw_box(axes, node, x, main, wide)


def _get_half_width(node: Node, wide: float) -> float:
    return 12 if node.kind in SIGNS else wide / 2


def _draw_box(axes: Axes, node: Node, x: float, y: float, wide: float) -> None:
    if isinstance(node, TextNode) and node.below:
        below = y + (22 if node.kind in SIGNS else 24)
        axes.text(x, below, node.below, fontsize=7.5, ha="center", va="center", color=SOFT)
    if node.kind in SIGNS:
        _draw_sign(axes, node, x, y, 12, 13)
        return
    box = FancyBboxPatch(
        (x - wide / 2, y - 17),
        wide,
        34,
        boxstyle="round,pad=0,rounding_size=4",
        fc=COLORS[node.kind],
        ec="none",
        zorder=3,
    )
    axes.add_patch(box)
    ink = "white" if node.kind == "linear" else "black"
    name, detail = _describe(node)
    text: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "zorder": 4}
    # A letter is about 0.6 times as wide as high and a point is 100 / 72 pixels, so 0.83 pixels a
    # point of font size; 0.88 leaves some room.
    size, small = (
        min(most, (wide - 6) / (0.88 * max(len(line), 1)))
        for most, line in ((9, name), (8, detail))
    )
    axes.text(x, y - (7 if detail else 0), name, fontsize=size, **text)
    axes.text(x, y + 7, detail, fontsize=small, **text)
    # The name of the layer in the tree of parameters.
    if node.kind in ("conv", "linear", "norm") and not isinstance(node, TextNode):
        own = node.path.rpartition("/")[2]
        axes.text(x, y + 24, own, fontsize=7.5, ha="center", va="center", color=SOFT)


def _describe(node: Node) -> tuple[str, str]:
    """Return both lines of a box: the kind with its window, and the channels with the stride."""
    if isinstance(node, TextNode):
        return node.words
    size, stride = node.window or (0, 1)
    window = f" {size}×{size}" if size else ""
    kind = {"max pool": "max", "average pool": "average"}.get(node.kind, node.kind)
    detail = []
    if node.kind in ("conv", "linear"):
        detail.append(f"→ {node.shape[-1]}")
    if stride > 1:
        detail.append(f"stride {stride}")
    if node.kind == "conv" and size and node.terms == size * size > 1:
        detail = ["depthwise"]
    return kind + window, ", ".join(detail)


def _draw_sign(axes: Axes, node: Node, x: float, y: float, radius: float, size: float) -> None:
    axes.add_patch(Circle((x, y), radius, fc="white", ec=INK, lw=1.1, zorder=3))
    arms = {"add": ((1, 0), (0, 1)), "product": ((0.7, 0.7), (0.7, -0.7))}.get(node.kind)
    if arms is None:
        axes.text(x, y, SIGNS[node.kind], ha="center", va="center", fontsize=size, zorder=4)
        return
    for dx, dy in arms:
        reach = 0.55 * radius
        ends = [x - dx * reach, x + dx * reach], [y - dy * reach, y + dy * reach]
        axes.plot(*ends, color=INK, lw=1.1, zorder=4)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>,head_width=0.22,head_length=0.4", "color": INK, "lw": 1.2}
    style |= {"shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style, zorder=2)


def _draw_size(axes: Axes, node: Node, x: float, y: float, side: str) -> None:
    axes.text(x, y, "\n".join(_format_map(node)), ha=side, va="center", fontsize=8.5, color=SOFT)


def _format_map(node: Node) -> list[str]:
    if len(node.shape) > 3 or node.kind == "input":
        height, width, channels = node.shape[-3:]
        return [f"{height}×{width}", f"{channels} ch."]
    return [f"{node.shape[-1]}"]


def _get_side(node: Node) -> int:
    return node.shape[-2] if len(node.shape) > 3 else 1


def _group_layers(path: Sequence[Node]) -> list[list[int]]:
    """Return the positions under each label: a block, or a layer of weights and what follows it."""
    groups: list[list[int]] = []
    for _, run in groupby(range(len(path)), key=lambda i: path[i].path.partition("/")[0]):
        members = list(run)
        if any("/" in path[i].path for i in members):
            groups.append(members)
            continue
        for i in members:
            before = {path[j].kind for j in groups[-1]} if groups else {"input"}
            after_block = bool(groups) and any("/" in path[j].path for j in groups[-1])
            weights = {"conv", "linear"}
            second = path[i].kind in weights and before & weights
            if after_block or "input" in before or second or path[i].kind == "mean":
                groups.append([i])
            else:
                groups[-1].append(i)
    return groups


def _name_groups(path: Sequence[Node], groups: Sequence[Sequence[int]]) -> list[str]:
    """Return a short name for each group; a stage with one group has only its number."""
    names = []
    for members in groups:
        inner = [path[i].path.partition("/")[0] for i in members if "/" in path[i].path]
        named = [path[i].path for i in members if path[i].kind in ("conv", "linear")]
        first = path[members[0]]
        names.append(
            (inner or named[-1:] or [first.path if first.kind == "norm" else first.kind])[0]
        )
    stages = Counter(name.partition("_block")[0] for name in names if "block" in name)
    return [_shorten(name, stages) for name in names]


def _shorten(name: str, blocks: Counter[str]) -> str:
    stage, _, block = name.partition("_block")
    if block:
        return stage.replace("stage", "stage ") + (f".{block}" if blocks[stage] > 1 else "")
    if name.startswith("block"):
        return "block"
    return name.partition("_")[2] if name.startswith("stage") else name


def _list_nodes(picture: Picture) -> list[Node]:
    return [*picture.path, *(node for branch in picture.branches for node in branch.nodes)]


def _draw_legend(axes: Axes, nodes: Sequence[Node], y: float) -> None:
    kinds = [kind for kind in COLORS if kind in {node.kind for node in nodes}]
    x = WIDTH - MARGIN - 8.0
    for kind in reversed(kinds):
        x -= 7.4 * len(kind)
        axes.text(x, y, kind, fontsize=9, va="center", color=INK)
        x -= 14
        axes.add_patch(Rectangle((x, y - 5), 10, 10, fc=COLORS[kind], ec="none"))
        x -= 12
