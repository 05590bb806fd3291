"""Run a program frame by frame, with logits after each and an answer once it is confident.

stream = program.stream()
state = stream.start()
for frame in frames:
    state, logits = stream(state, frame)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.batches import jit_for_batches
from pit_jax.inference.runtime.pixels import InputReader
from pit_jax.inference.runtime.step import Weights, step
from pit_jax.old_names import accept_old_keywords, serve_old_names


class StreamState(NamedTuple):
    """The state of a stream: the number of steps so far, neurons, and the sum of outputs."""

    steps: int = 0
    neurons: Any = None
    total: Any = 0


class Decision(NamedTuple):
    """Logits `[B, K]` and the number of frames that each sample took."""

    logits: Float[np.ndarray, "B K"]
    steps: Int[np.ndarray, " B"]


# Maps the neurons, a frame and the step t to the next neurons and outputs [B, K] int32.
Advance = Callable[[Any, Any, int], tuple[Any, Any]]


@dataclass(frozen=True, repr=False)
class Stream:
    """A program that takes one frame per call.

    The state is an argument and a result and is never changed in place, so streams can run side by
    side, fork or start again without affecting each other. After `num_steps` frames the logits
    equal the program's and the stream ends: further steps have no weights and scales.
    """

    num_steps: int
    reader: InputReader
    unit: float
    advance: Advance

    def start(self) -> StreamState:
        """Return the state before the first frame, for any number of samples."""
        return StreamState()

    def __call__(self, state: StreamState, frame: Any) -> tuple[StreamState, Any]:
        """Return the state after `frame` `[B, H, W, C]` and the mean logits `[B, K]` so far.

        Frames have the types that the program takes. Raises ValueError for a frame of another shape
        or type, and after the last step.
        """
        if state.steps == self.num_steps:
            raise ValueError(
                f"the program has {self.num_steps} steps, and the stream has used all of them; "
                "begin again with start()."
            )
        frame, shape = self.reader.read(frame, "a frame"), self.reader.pixels.shape
        if frame.shape[1:] != shape or (state.steps and len(frame) != len(state.total)):
            batch = len(state.total) if state.steps else "B"
            raise ValueError(
                f"the next frame of this stream must be [{batch}, "
                f"{', '.join(map(str, shape))}], got {frame.shape}."
            )
        self.reader.warn_if_clipped(frame, stacklevel=2)
        frame = self.reader.normalize(frame)
        neurons, outputs = self.advance(state.neurons, frame, state.steps)
        after = StreamState(state.steps + 1, neurons, state.total + outputs)
        return after, after.total.astype(np.float32) * np.float32(self.unit / after.steps)

    def decide(self, frames: Iterable[Any], margin: float) -> Decision:
        """Feed `frames` until every sample is confident, or frames or steps run out.

        A sample keeps the logits with which it first was confident. The batch continues until all
        of its samples are, so time is saved only if all of them decide early. See `is_confident`
        for `margin`.
        """
        if not -1 <= margin <= 1:
            raise ValueError(
                "margin must be a difference of probabilities from -1 to 1, below 0 to stop after "
                f"the first frame; got {margin}."
            )
        state, decided, steps = self.start(), np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
        for frame in frames:
            state, logits = self(state, frame)
            logits = np.asarray(logits)
            if state.steps == 1:
                decided, steps = logits.copy(), np.ones(len(logits), np.int64)
                open_ = np.ones(len(logits), bool)
            decided[open_], steps[open_] = logits[open_], state.steps
            open_ &= ~is_confident(logits, margin)
            if not open_.any() or state.steps == self.num_steps:
                break
        if not state.steps:
            raise ValueError("frames is empty; pass at least one frame.")
        return Decision(decided, steps)

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.reader.pixels.shape))
        return f"stream of frames [B, {shape}], num_steps={self.num_steps}"

    __repr__ = __str__


def is_confident(logits: Any, margin: float) -> Bool[np.ndarray, " B"]:
    """Return where the two largest probabilities of `logits` `[B, K]` differ by over `margin`."""
    # Probabilities, since the scale of logits differs between networks.
    logits = np.asarray(logits, np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    largest = np.sort(odds / odds.sum(-1, keepdims=True), axis=-1)
    second = largest[:, -2] if logits.shape[-1] > 1 else 0.0  # A single class is certain.
    return largest[:, -1] - second > margin


@accept_old_keywords
def make_jax_advance(graph: Sequence[nodes.Node], weights: Weights) -> Advance:
    """Return a function that runs one step in JAX on counts; each step is compiled on first use."""

    @partial(jit_for_batches, static_argnums=2)
    def advance(neurons: Any, frame: Array, t: int) -> tuple[Any, Array]:
        after = step(graph, weights, neurons or {}, frame, t, "counts")
        return after.states, after.outputs[-1]

    return advance


serve_old_names(__name__)
