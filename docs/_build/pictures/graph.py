"""Layouts of networks: repeated blocks once, one main path, and branches that leave it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from pit_jax.models.trace import Node


@dataclass(frozen=True)
class TextNode(Node):
    """A node with the text of its box, in two lines, and the text below the box."""

    words: tuple[str, str] = ("", "")
    below: str = ""


@dataclass(frozen=True)
class Branch:
    """A branch that leaves the main path at position `fork` and returns at position `join`.

    `nodes` are its layers; a shortcut without layers is an identity. `lane` counts from the main
    path outwards, so that branches do not overlap.
    """

    fork: int
    join: int
    nodes: tuple[Node, ...]
    lane: int


@dataclass(frozen=True)
class Picture:
    """The longest path through a graph, its branches, and how often each of its nodes repeats."""

    path: list[Node]
    branches: list[Branch]
    repeats: list[int]

    @property
    def lanes(self) -> int:
        return max((branch.lane for branch in self.branches), default=0)


def make_overview(nodes: Sequence[Node]) -> Picture:
    """Return the picture of a whole network, with consecutive equal blocks drawn once."""
    kept, repeats = _find_repeats(nodes)
    return _lay_out(kept, repeats)


def zoom(nodes: Sequence[Node], path: str, until: str = "") -> Picture:
    """Return the picture of the module at `path`, with the sum that its output goes into.

    With `until`, return the layers from `path` to before `until`.
    """
    inside = [i for i, node in enumerate(nodes) if f"{node.path}/".startswith(f"{path}/")]
    if until:
        ends = [i for i, node in enumerate(nodes) if node.path == until]
        inside = list(range(inside[0], ends[0]))
    elif nodes[inside[-1]].kind != "add" and nodes[inside[-1] + 1].kind == "add":
        inside.append(inside[-1] + 1)
    outside = {j for i in inside for j in nodes[i].inputs} - set(inside)
    (source,) = outside
    places = {source: 0} | {i: place for place, i in enumerate(inside, start=1)}
    selected = [replace(nodes[i], inputs=tuple(places[j] for j in nodes[i].inputs)) for i in inside]
    entry = replace(nodes[source], kind="input", path="", inputs=())
    return make_plain_picture([entry, *selected])


def make_plain_picture(nodes: Sequence[Node]) -> Picture:
    """Return the picture of all `nodes`; the first is the only input, the last the output."""
    return _lay_out(nodes, [1] * len(nodes))


def _find_repeats(nodes: Sequence[Node]) -> tuple[list[Node], list[int]]:
    """Return the nodes without blocks that repeat the previous one, and the repeats of each."""
    kept: list[Node] = []
    repeats: list[int] = []
    places: list[
        int
    ] = []  # Positions in `kept` of each node, or of the equal one that replaces it.
    last = None
    for _, run in groupby(range(len(nodes)), key=lambda i: nodes[i].path.partition("/")[0]):
        members = list(run)
        # Blocks are equal if their nodes are, up to names and to where the block starts.
        form = [
            replace(nodes[i], path="", inputs=tuple(j - members[0] for j in nodes[i].inputs))
            for i in members
        ]
        if len(form) > 1 and form == last:
            first = len(kept) - len(form)
            places += range(first, len(kept))
            repeats[first:] = [n + 1 for n in repeats[first:]]
            continue
        last = form
        for i in members:
            places.append(len(kept))
            kept.append(replace(nodes[i], inputs=tuple(places[j] for j in nodes[i].inputs)))
            repeats.append(1)
    return kept, repeats


def _lay_out(nodes: Sequence[Node], repeats: Sequence[int]) -> Picture:
    # The longest path from the input to each node; nodes come after their inputs.
    depth: list[int] = []
    for node in nodes:
        depth.append(1 + max((depth[j] for j in node.inputs), default=0))
    # The main path, from its end: of several inputs, the one with the longest path.
    path = [len(nodes) - 1]
    while nodes[path[0]].inputs:
        path.insert(0, max(nodes[path[0]].inputs, key=depth.__getitem__))
    place = {i: at for at, i in enumerate(path)}
    branches = []
    for join, i in enumerate(path[1:], start=1):
        # Every other input belongs to a branch: follow it back to the main path.
        for j in nodes[i].inputs:
            way: list[int] = []
            while j not in place:
                way.insert(0, j)
                j = nodes[j].inputs[0]
            if way or place[j] != join - 1:
                branches.append(Branch(place[j], join, tuple(nodes[k] for k in way), lane=0))
    return Picture([nodes[i] for i in path], _assign_lanes(branches), [repeats[i] for i in path])


def _assign_lanes(branches: Sequence[Branch]) -> list[Branch]:
    """Place shorter branches nearer to the path, without overlaps."""
    placed: list[Branch] = []
    for branch in sorted(branches, key=lambda b: (b.join - b.fork, b.fork)):
        over = {b.lane for b in placed if max(b.fork, branch.fork) < min(b.join, branch.join)}
        placed.append(replace(branch, lane=max(over, default=0) + 1))
    return placed
