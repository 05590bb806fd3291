"""A program frame by frame: logits after each, and an answer as soon as it is clear.

stream = program.stream()
state = stream.start()
for frame in frames:
    state, logits = stream(state, frame)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.reductions import Shape
from pit_jax.inference.runtime.step import Weights, step
from pit_jax.old_names import accept_old_keywords, serve_old_names


class StreamState(NamedTuple):
    """The state of a stream: its steps so far, its neurons, the sum of its outputs."""

    steps: int = 0
    neurons: Any = None
    total: Any = 0


class Decision(NamedTuple):
    """Logits `[B, K]` and, for each sample, the number of frames that it took."""

    logits: Float[np.ndarray, "B K"]
    steps: Int[np.ndarray, " B"]


# From neurons, a frame and the step t: the neurons after it, and outputs [B, K] int32.
Advance = Callable[[Any, Any, int], tuple[Any, Any]]


@dataclass(frozen=True)
class Stream:
    """The steps of a program, one a call. The state goes in and out and is never changed, so that
    streams can run side by side, fork, or start again, and nothing leaks from one into another.

    After `num_steps` frames the logits are the program's, and the stream is at its end: there are
    no weights and scales for further steps.
    """

    num_steps: int
    shape: Shape
    unit: float
    advance: Advance

    def start(self) -> StreamState:
        """Return the state before the first frame, for any number of samples."""
        return StreamState()

    def __call__(self, state: StreamState, frame: Any) -> tuple[StreamState, Any]:
        """Return the state after `frame` `[B, H, W, C]` and logits `[B, K]`, the mean so far.

        Raises ValueError for a frame that does not fit, and for one too many.
        """
        if state.steps == self.num_steps:
            raise ValueError(
                f"the program has {self.num_steps} steps, and the stream has had them all; begin "
                "again with start()."
            )
        frame = frame if hasattr(frame, "shape") else np.asarray(frame, np.float32)
        if frame.shape[1:] != self.shape or (state.steps and len(frame) != len(state.total)):
            batch = len(state.total) if state.steps else "B"
            raise ValueError(
                f"the next frame of this stream is [{batch}, {', '.join(map(str, self.shape))}], "
                f"got {frame.shape}."
            )
        neurons, outputs = self.advance(state.neurons, frame, state.steps)
        after = StreamState(state.steps + 1, neurons, state.total + outputs)
        return after, after.total.astype(np.float32) * np.float32(self.unit / after.steps)

    def decide(self, frames: Iterable[Any], margin: float) -> Decision:
        """Feed `frames` until every sample is confident, or there are no more frames or steps.

        A sample keeps the logits with which it was confident first. The batch continues until all
        of its samples are: only then is a step saved. See `is_confident` for `margin`.
        """
        if not -1 <= margin <= 1:
            raise ValueError(
                "margin is a difference of probabilities, at most 1, and below 0 for the first "
                f"frame alone; got {margin}."
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
            raise ValueError("there is no frame to decide by.")
        return Decision(decided, steps)


def is_confident(logits: Any, margin: float) -> Bool[np.ndarray, " B"]:
    """Return where the two largest probabilities of `logits` `[B, K]` are over `margin` apart.

    A margin of probabilities means the same for every network; logits have a scale of their own.
    """
    logits = np.asarray(logits, np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    largest = np.sort(odds / odds.sum(-1, keepdims=True), axis=-1)
    second = largest[:, -2] if logits.shape[-1] > 1 else 0.0  # Of one class nothing is in doubt.
    return largest[:, -1] - second > margin


@accept_old_keywords
def make_jax_advance(graph: Sequence[nodes.Node], weights: Weights) -> Advance:
    """Return steps in JAX, on counts, each compiled at its first use."""

    @partial(jax.jit, static_argnums=2)
    def advance(neurons: Any, frame: Array, t: int) -> tuple[Any, Array]:
        frame = jnp.asarray(frame, jnp.float32)  # As the program takes all its samples.
        after = step(graph, weights, neurons or {}, frame, t, "counts")
        return after.states, after.outputs[-1]

    return advance


serve_old_names(__name__)
