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


class StreamState(NamedTuple):
    """Where a stream stands: the steps so far, what the neurons keep, the sum of the outputs."""

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
    """A program's steps, one at a call. The state goes in and out and is never changed, so that
    streams can run side by side, fork, or start again, and nothing leaks from one into another.

    After `num_steps` frames the logits are the program's, and the stream is at its end: weights and
    scales are those of its steps, of which there are no more.
    """

    num_steps: int
    shape: Shape
    unit: float
    advance: Advance

    def start(self) -> StreamState:
        """The state before the first frame, for any number of samples."""
        return StreamState()

    def __call__(self, state: StreamState, frame: Any) -> tuple[StreamState, Any]:
        """The state after `frame` `[B, H, W, C]`, and logits `[B, K]`, the mean over the steps so
        far; raises ValueError for a frame that does not fit, and for one too many."""
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
        """Feeds `frames` until every sample is `confident`, or they or the steps are at an end.

        A sample keeps the logits with which it was confident first. The others of its batch go on,
        and it with them: only when all are confident is a step spared.
        """
        if not -1 <= margin <= 1:
            raise ValueError(
                "margin is a difference of probabilities, at most 1, and below 0 for the first "
                f"frame alone; got {margin}."
            )
        state, kept, steps = self.start(), np.zeros((0, 0), np.float32), np.zeros(0, np.int64)
        for frame in frames:
            state, logits = self(state, frame)
            logits = np.asarray(logits)
            if state.steps == 1:
                kept, steps = logits.copy(), np.ones(len(logits), np.int64)
                open_ = np.ones(len(logits), bool)
            kept[open_], steps[open_] = logits[open_], state.steps
            open_ &= ~confident(logits, margin)
            if not open_.any() or state.steps == self.num_steps:
                break
        if not state.steps:
            raise ValueError("there is no frame to decide by.")
        return Decision(kept, steps)


def confident(logits: Any, margin: float) -> Bool[np.ndarray, " B"]:
    """Where the two largest probabilities of `logits` `[B, K]` are more than `margin` apart.

    Probabilities, as a margin then means the same for every network; logits come in its own scale.
    """
    logits = np.asarray(logits, np.float64)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    largest = np.sort(odds / odds.sum(-1, keepdims=True), axis=-1)
    second = largest[:, -2] if logits.shape[-1] > 1 else 0.0  # Of one class nothing is in doubt.
    return largest[:, -1] - second > margin


def in_jax(graph: Sequence[nodes.Node], weights: Weights) -> Advance:
    """Steps in JAX, on counts, each compiled at its first use."""

    @partial(jax.jit, static_argnums=2)
    def advance(neurons: Any, frame: Array, t: int) -> tuple[Any, Array]:
        frame = jnp.asarray(frame, jnp.float32)  # As the program takes all its samples.
        after = step(graph, weights, neurons or {}, frame, t, "counts")
        return after.states, after.outputs[-1]

    return advance
