"""Run a program without JAX in one compiled call, which adds spikes only where that is faster."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from pit_jax.inference.event_driven.assemble import WeightLayer, allocate, assemble
from pit_jax.inference.event_driven.crossover import Crossover, look_up_crossover
from pit_jax.inference.event_driven.interpreter import run
from pit_jax.inference.event_driven.jit import count_cores, report_compilation
from pit_jax.inference.listing import align_columns
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.pixels import InputReader, Normalization
from pit_jax.inference.runtime.step import check_input
from pit_jax.inference.runtime.stream import Stream
from pit_jax.old_names import accept_old_keywords, serve_old_names

# Starting a thread takes longer than computing fewer samples.
MIN_SAMPLES_PER_THREAD = 4


@dataclass(frozen=True)
class LayerRun:
    """The way in which a layer of weights ran in a call.

    `rate` is the share of its inputs that fired, `crossover` the rate up to which it adds spikes
    only. Of its `runs`, one for each step and thread, `dense` added all inputs.
    """

    layer: WeightLayer
    rate: float
    crossover: float
    dense: int
    runs: int


class _Workspace(NamedTuple):
    """The arrays of one thread and batch size, allocated once.

    `max_spikes` has for each CONV the largest number of spikes with which it does not add all
    inputs.
    """

    memory: np.ndarray
    state: np.ndarray
    max_spikes: np.ndarray


class EventDriven:
    """A program that computes its logits in compiled loops over spikes, with the same bits.

    A count k is one event, which adds k times a row of weights. A batch is divided among up to
    `threads`, by default one for each core of this process; a single sample is not divided. Calls
    share their memory, so several threads must not call at the same time.
    """

    @accept_old_keywords
    def __init__(
        self,
        graph: Sequence[nodes.Node],
        num_steps: int,
        crossover: Crossover = look_up_crossover,
        threads: int | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        pixels, last = graph[0], graph[-1]
        assert isinstance(pixels, nodes.Pixels) and isinstance(last, nodes.Accumulator)
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be 1 or more, or None for all cores, got {threads}.")
        self._reader, self.num_steps = InputReader(pixels, normalization), num_steps
        self._crossover, self._tape = crossover, assemble(graph)
        self._unit, self._classes = last.unit.item(), last.shape[0]
        self._threads = threads or count_cores()
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1))
        self._workspaces: dict[tuple[int, int], _Workspace] = {}
        # The last call: the interpreter's totals of each part, the samples and the steps.
        self._last: tuple[list[np.ndarray], int, int] | None = None

    def __call__(self, x: Any) -> Float[np.ndarray, "B K"]:
        """Return logits, the mean over steps, of images `[B, H, W, C]` or `[B, T, H, W, C]`."""
        x, shape = np.asarray(self._reader.read(x)), self._reader.pixels.shape
        check_input(x.shape, shape, self.num_steps)
        self._reader.warn_if_clipped(x, stacklevel=2)
        x = self._reader.normalize(x)
        frames = _view_frames(x, 1 if x.shape[1:] == shape else self.num_steps)
        sums = np.zeros((len(x), self._classes), np.int32)
        parts = max(1, min(self._threads, len(x) // MIN_SAMPLES_PER_THREAD))
        edges = [len(x) * part // parts for part in range(parts + 1)]

        def work(part: int) -> np.ndarray:
            mine = slice(edges[part], edges[part + 1])
            space = self._get_workspace(edges[part + 1] - edges[part], part)
            return self._run(space, frames[mine], 0, self.num_steps, True, False, sums[mine])

        if len(x):
            # Compiled code releases the GIL; this thread computes part 0 meanwhile.
            with report_compilation(run):
                others = [self._pool.submit(work, part) for part in range(1, parts)]
                totals = [work(0), *(other.result() for other in others)]
            self._last = totals, len(x), self.num_steps
        return sums.astype(np.float32) * np.float32(self._unit / self.num_steps)

    def stream(self) -> Stream:
        """Return a runtime that takes one frame at a time; see `Stream`."""

        def advance(state: Any, frame: Any, t: int) -> tuple[Any, Int[np.ndarray, "B K"]]:
            frame = _view_frames(frame, 1)
            sums = np.zeros((len(frame), self._classes), np.int32)
            if not len(frame):
                return state, sums
            space = self._get_workspace(len(frame))
            fresh = state is None
            if not fresh:
                space.state[:] = state
            with report_compilation(run):
                totals = self._run(space, frame, t, t + 1, fresh, True, sums)
            self._last = [totals], len(frame), 1
            return space.state.copy(), sums

        return Stream(self.num_steps, self._reader, self._unit, advance)

    @property
    def choices(self) -> list[LayerRun]:
        """How each layer ran in the last call with samples; empty before the first."""
        if self._last is None:
            return []
        parts, batch, steps = self._last
        totals = sum(parts[1:], parts[0])
        return [
            LayerRun(
                layer,
                float(totals[layer.lister] / (layer.inputs * batch * steps)),
                self._crossover(layer, batch // len(parts)),
                int(totals[layer.conv]),
                steps * len(parts),
            )
            for layer in self._tape.layers
        ]

    def __str__(self) -> str:
        """Return a line for each layer of weights that says how it ran in the last call."""
        if not self.choices:
            return f"{len(self._tape.layers)} layers of weights, not run yet"
        head = ["layer", "kernel", "inputs that fire", "by spikes up to", "ran"]
        rows = [
            [
                c.layer.path,
                "x".join(map(str, c.layer.kernel)),
                f"{c.rate:.1%}",
                _format_crossover(c.crossover),
                f"dense, {c.dense} of {c.runs}" if c.dense else "by spikes",
            ]
            for c in self.choices
        ]
        return "\n".join(align_columns([head, *rows], left=2))

    __repr__ = __str__

    def _run(
        self,
        space: _Workspace,
        frames: np.ndarray,
        first: int,
        last: int,
        fresh: bool,
        keep: bool,
        sums: np.ndarray,
    ) -> np.ndarray:
        tape = self._tape
        return run(
            tape.code, space.memory, space.state, tape.numbers, tape.shorts, tape.unit,
            space.max_spikes, frames, first, last, fresh, keep, sums, tape.logits,
        )  # fmt: skip

    def _get_workspace(self, batch: int, part: int = 0) -> _Workspace:
        if (batch, part) not in self._workspaces:
            tape = self._tape
            max_spikes = np.zeros(len(tape.code), np.int64)
            for layer in tape.layers:
                max_spikes[layer.conv] = int(self._crossover(layer, batch) * layer.inputs * batch)
            self._workspaces[batch, part] = _Workspace(
                allocate(tape.memory * batch, np.int32),
                allocate(tape.state * batch, np.int32),
                max_spikes,
            )
        return self._workspaces[batch, part]


def _view_frames(x: Any, steps: int) -> Float[np.ndarray, "B T N"]:
    """Return float32 images or frames as rows of pixels for each of `steps`, 1 or T."""
    frames = np.ascontiguousarray(x).reshape(len(x), steps, math.prod(x.shape[1:]) // steps)
    # NumPy's view of a JAX array is read-only. With one type, numba compiles once.
    frames.flags.writeable = False
    return frames


def _format_crossover(crossover: float) -> str:
    return "never" if crossover <= 0 else f"{crossover:.0%}"


serve_old_names(__name__)
