"""A program without JAX: in one compiled call, which goes by the spikes where that takes less."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pit_jax.inference.event_driven.assemble import Layer, aligned, write
from pit_jax.inference.event_driven.crossover import Crossover, measured
from pit_jax.inference.event_driven.interpreter import run
from pit_jax.inference.event_driven.jit import cores
from pit_jax.inference.listing import align_columns
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.step import check_input
from pit_jax.inference.runtime.stream import Stream

# A thread takes at least so many samples: fewer take no longer than it takes to begin.
FEW = 4


@dataclass(frozen=True)
class Choice:
    """How a layer of weights ran: the share of its inputs that fired, the rate up to which it goes
    by spikes, and how many of its runs, one for each step and thread, added all inputs instead."""

    layer: Layer
    rate: float
    crossover: float
    dense: int
    runs: int


class _Room(NamedTuple):
    """What a batch of one size works in."""

    memory: np.ndarray
    state: np.ndarray
    most: np.ndarray


class EventDriven:
    """`program`'s logits, equal bit for bit, from compiled loops over its spikes.

    A count is one event, which adds a row of weights so many times. A batch is divided among up to
    `threads`, the cores of this process by default, a single sample is not. Calls take turns, as
    they share what is allocated once for each batch size.
    """

    def __init__(
        self,
        graph: Sequence[nodes.Node],
        num_steps: int,
        crossover: Crossover = measured,
        threads: int | None = None,
    ) -> None:
        sampled, last = graph[0], graph[-1]
        assert isinstance(sampled, nodes.Pixels) and isinstance(last, nodes.Accumulator)
        if threads is not None and threads < 1:
            raise ValueError(f"threads is 1 or more, or None for one on each core; got {threads}.")
        self.shape, self.num_steps = sampled.shape, num_steps
        self._crossover, self._tape = crossover, write(graph, num_steps)
        self._unit, self._classes = last.unit.item(), last.shape[0]
        self._threads = threads or cores()
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1))
        self._rooms: dict[tuple[int, int], _Room] = {}
        # Of the last call: what the machine saw in each part, of how many samples, in how many
        # steps.
        self._seen: tuple[list[np.ndarray], int, int] | None = None

    def __call__(self, x: Any) -> Float[np.ndarray, "B K"]:
        """Logits, the mean over the steps, of images `[B, H, W, C]` or frames `[B, T, H, W, C]`."""
        x = np.ascontiguousarray(x, np.float32)
        check_input(x.shape, self.shape, self.num_steps)
        frames = x.reshape(len(x), 1 if x.ndim == 4 else self.num_steps, math.prod(self.shape))
        sums = np.zeros((len(x), self._classes), np.int32)
        parts = max(1, min(self._threads, len(x) // FEW))
        edges = [len(x) * part // parts for part in range(parts + 1)]

        def work(part: int) -> np.ndarray:
            mine = slice(edges[part], edges[part + 1])
            room = self._room(edges[part + 1] - edges[part], part)
            return self._run(room, frames[mine], 0, self.num_steps, True, False, sums[mine])

        if len(x):
            others = [self._pool.submit(work, part) for part in range(1, parts)]
            seen = [work(0), *(other.result() for other in others)]
            self._seen = seen, len(x), self.num_steps
        return sums.astype(np.float32) * np.float32(self._unit / self.num_steps)

    def stream(self) -> Stream:
        """One frame at a time; see `Stream`."""

        def advance(state: Any, frame: Any, t: int) -> tuple[Any, Int[np.ndarray, "B K"]]:
            frame = np.ascontiguousarray(frame, np.float32)
            frame = frame.reshape(len(frame), 1, math.prod(self.shape))
            sums = np.zeros((len(frame), self._classes), np.int32)
            if not len(frame):
                return state, sums
            room = self._room(len(frame))
            fresh = state is None
            if not fresh:
                room.state[:] = state
            self._seen = [self._run(room, frame, t, t + 1, fresh, True, sums)], len(frame), 1
            return room.state.copy(), sums

        return Stream(self.num_steps, self.shape, self._unit, advance)

    @property
    def choices(self) -> list[Choice]:
        """How each layer ran in the last call that had a sample; empty before."""
        if self._seen is None:
            return []
        parts, batch, steps = self._seen
        seen = sum(parts[1:], parts[0])
        return [
            Choice(
                layer,
                float(seen[layer.events] / (layer.inputs * batch * steps)),
                self._crossover(layer, batch // len(parts)),
                int(seen[layer.at]),
                steps * len(parts),
            )
            for layer in self._tape.layers
        ]

    def __str__(self) -> str:
        """A line for each layer of weights, as it ran in the last call."""
        if not self.choices:
            return f"{len(self._tape.layers)} layers of weights, not run yet"
        head = ["layer", "kernel", "inputs that fire", "by spikes up to", "ran"]
        rows = [
            [
                c.layer.path,
                "x".join(map(str, c.layer.kernel)),
                f"{c.rate:.1%}",
                _share(c.crossover),
                f"dense, {c.dense} of {c.runs}" if c.dense else "by spikes",
            ]
            for c in self.choices
        ]
        return "\n".join(align_columns([head, *rows], left=2))

    def _run(
        self,
        room: _Room,
        frames: np.ndarray,
        first: int,
        last: int,
        fresh: bool,
        keep: bool,
        sums: np.ndarray,
    ) -> np.ndarray:
        tape = self._tape
        return run(
            tape.code, room.memory, room.state, tape.numbers, tape.shorts, tape.unit,
            room.most, frames, first, last, fresh, keep, sums, tape.logits,
        )  # fmt: skip

    def _room(self, batch: int, part: int = 0) -> _Room:
        if (batch, part) not in self._rooms:
            tape = self._tape
            most = np.zeros(len(tape.code), np.int64)
            for layer in tape.layers:
                most[layer.at] = int(self._crossover(layer, batch) * layer.inputs * batch)
            self._rooms[batch, part] = _Room(
                aligned(tape.memory * batch, np.int32),
                aligned(tape.state * batch, np.int32),
                most,
            )
        return self._rooms[batch, part]


def _share(crossover: float) -> str:
    return "never" if crossover <= 0 else f"{crossover:.0%}"
