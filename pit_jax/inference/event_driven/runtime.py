"""A program on a CPU without JAX: it spends time on spikes, where these are few enough to pay."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pit_jax.inference.event_driven.machine import run
from pit_jax.inference.event_driven.tape import write
from pit_jax.inference.integers import Integer, Sampled, Summed

MANY = 2**62


class EventDriven:
    def __init__(self, nodes: Sequence[Integer], num_steps: int, dense: bool | None = None) -> None:
        sampled, last = nodes[0], nodes[-1]
        assert isinstance(sampled, Sampled) and isinstance(last, Summed)
        self.shape, self.num_steps = sampled.shape, num_steps
        self._factor = np.float32(last.unit.item() / num_steps)
        self._tape = write(nodes, num_steps)
        self.dense = dense
        self.classes = last.shape[0]
        self._rooms: dict[int, Any] = {}

    def __call__(self, x: Any) -> Float[np.ndarray, "B K"]:
        x = np.ascontiguousarray(x, np.float32)
        batch = len(x)
        frames = x.reshape(batch, 1 if x.ndim == 4 else self.num_steps, -1)
        tape = self._tape
        if batch not in self._rooms:
            self._rooms[batch] = (
                np.empty(tape.memory * batch, np.int32),
                np.zeros(tape.state * batch, np.int32),
                np.empty(tape.scratch, np.float32),
                np.full(len(tape.code), -1 if self.dense else MANY, np.int64),
            )
        memory, state, scratch, most = self._rooms[batch]
        state[:] = 0
        total = np.zeros((batch, self.classes), np.int32)
        self.seen = run(tape.code, memory, state, tape.numbers, tape.shorts, tape.floats,
            scratch, most, frames, 0, self.num_steps, False, total, tape.logits)
        return total.astype(np.float32) * self._factor
