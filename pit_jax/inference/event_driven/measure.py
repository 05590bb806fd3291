"""Measure the crossover of layers on this machine: python -m pit_jax.inference.event_driven.measure

The crossover of a layer is the share of firing inputs at which adding all inputs takes as long as
adding only the spikes.
"""

import json
import math
import platform
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from pit_jax.arguments import Parser, start
from pit_jax.inference.event_driven.assemble import WeightLayer, allocate, assemble
from pit_jax.inference.event_driven.crossover import TABLE
from pit_jax.inference.event_driven.interpreter import run
from pit_jax.inference.event_driven.jit import count_cores
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.fixed_point import FixedNeuron, thermometer
from pit_jax.inference.runtime.reductions import Shape
from pit_jax.old_names import serve_old_names

RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
BATCHES = (1, 16)
ROUNDS, SECONDS = 5, 0.01
LEVELS = 4


@dataclass(frozen=True)
class Case:
    """A layer to measure: the side of its input and of its kernel, channels, features, stride."""

    side: int
    kernel: int
    channels: int
    features: int
    stride: int = 1
    depthwise: bool = False

    def make_synapse(self) -> nodes.Synapse:
        """Return random weights whose sums stay below 2^24, as in a compiled program."""
        groups = self.channels if self.depthwise else 1
        shape = (1, self.kernel, self.kernel, self.channels // groups, self.features)
        limit = min(2**14, 2**23 // (LEVELS * self.kernel**2 * shape[3]))
        weight = np.random.default_rng(0).integers(-limit, limit + 1, shape).astype(np.int32)
        # With this padding the output has the side of the input at stride 1.
        padding = ((self.kernel // 2,) * 2,) * 2
        return nodes.Synapse(2, (), weight, "conv", "layer", (self.stride,) * 2, padding, groups)

    def draw_spikes(self, batch: int, rate: float) -> np.ndarray:
        """Return counts `[B, H, W, C]` int8; a share `rate` of them is 1 to 4, the others are 0."""
        rng = np.random.default_rng(1)
        shape = (batch, self.side, self.side, self.channels)
        return ((rng.random(shape) < rate) * rng.integers(1, LEVELS + 1, shape)).astype(np.int8)


CASES = (
    Case(1, 1, 512, 10),
    Case(1, 1, 2048, 1024),
    *(Case(side, 3, c, c) for side, c in ((28, 16), (14, 32), (7, 64), (4, 128), (8, 256))),
    Case(14, 3, 32, 64, stride=2),
    Case(8, 3, 128, 256, stride=2),
    *(Case(side, 1, c, 2 * c) for side, c in ((14, 32), (8, 128))),
    Case(14, 3, 64, 64, depthwise=True),
    Case(14, 7, 64, 64, depthwise=True),
)


class OneLayer:
    """A single layer, with its spikes in memory as a network would have them."""

    def __init__(self, synapse: nodes.Synapse, spikes: np.ndarray) -> None:
        """Take `spikes`, counts `[B, H, W, C]` of at most `LEVELS`."""
        graph = _make_nodes(synapse, spikes.shape[1:])
        self._tape = assemble(graph)
        self.layer: WeightLayer = self._tape.layers[-1]
        tape, batch = self._tape, len(spikes)
        self._memory = allocate(tape.memory * batch, np.int32)
        self._state = allocate(tape.state * batch, np.int32)
        self._frames = spikes.astype(np.float32).reshape(batch, 1, -1)
        self._frames.flags.writeable = False  # As in the runtime, so that numba compiles once.
        self._shape = batch, *graph[-1].shape
        self._outputs = np.zeros((batch, math.prod(self._shape[1:])), np.int32)
        # Run all instructions once to get the spikes; calls run the last three: BIAS, LIST, CONV.
        self._run(tape.code, 0)
        self._by_spikes, self._dense = tape.code[-3:].copy(), tape.code[[-3, -1]]
        # LIST is row 1 of the first tape. The second has none: row 0, BIAS, counts as 0 spikes.
        self._by_spikes["lister"], self._dense["lister"] = 1, 0

    def __call__(self, dense: bool) -> None:
        """Set the currents to the bias, then list and add the spikes, or add all inputs."""
        if dense:
            self._run(self._dense, -1)
        else:
            self._run(self._by_spikes, 2**62)

    @property
    def currents(self) -> Int32[np.ndarray, "B H W C"]:
        """The currents of the last call."""
        to = self._tape.code[-1]["to"] * len(self._frames)
        return self._memory[to : to + self._outputs.size].reshape(self._shape)

    def _run(self, code: np.ndarray, max_spikes: int) -> None:
        tape = self._tape
        run(
            code, self._memory, self._state, tape.numbers, tape.shorts, tape.unit,
            np.full(len(code), max_spikes), self._frames, 0, 1, True, False, self._outputs,
            tape.logits,
        )  # fmt: skip


def _make_nodes(synapse: nodes.Synapse, image: Shape) -> list[nodes.Node]:
    """Return a program with one layer, whose input neurons fire the integers of the pixels."""
    one, unit = np.ones((1, 1), np.int32), np.ones((1, 1))
    neuron = FixedNeuron(one, one, one, 0 * one, 0 * one, LEVELS, 0, thermometer(LEVELS))
    assert synapse.weight is not None
    sizes = zip(image, synapse.padding, synapse.weight.shape[1:], synapse.strides, strict=False)
    out = (
        *((n + sum(pad) - k) // stride + 1 for n, pad, k, stride in sizes),
        synapse.weight.shape[4],
    )
    return [
        nodes.Pixels(1.0, LEVELS, image),
        nodes.Accumulator(
            (nodes.Synapse(0, (), one, "diagonal", ""),), 0 * one, unit, LEVELS, image, ""
        ),
        nodes.Spikes(1, neuron, image, ""),
        nodes.Accumulator((synapse,), 0 * one, unit, 2**23, out, "layer"),
    ]


def time_calls(
    *calls: Callable[[], object], rounds: int = ROUNDS, seconds: float = SECONDS
) -> list[list[float]]:
    """Return the times of each call in seconds; calls take turns, so that load affects all."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, taken in zip(calls, times, strict=True):
            # Not timed: threads of the previous call may still be busy.
            time.sleep(seconds / 2)
            call()
            end = time.perf_counter() + seconds
            while (start := time.perf_counter()) < end:
                call()
                taken.append(time.perf_counter() - start)
    return times


def find_crossover(rates: Sequence[float], ratios: Sequence[float]) -> float:
    """Return the rate at which `ratios`, dense time over event-driven time, fall below 1.

    It is interpolated between two measured rates on logarithmic axes. It is 1 if the ratio never
    falls below 1, and 0 if the first one is below 1.
    """
    for i, ratio in enumerate(ratios):
        if ratio < 1:
            if i == 0:
                return 0.0
            # log ratio is linear in log rate between the two; `share` is where it is log 1 = 0.
            share = np.log(ratios[i - 1]) / np.log(ratios[i - 1] / ratio)
            return float(rates[i - 1] * (rates[i] / rates[i - 1]) ** share)
    return 1.0


def main(words: Sequence[str]) -> int:
    """Run the program with the words after its name, and return its exit code."""
    parser = Parser(
        "python -m pit_jax.inference.event_driven.measure",
        "Measure for every kind of layer the firing rate above which adding all inputs is faster "
        "than\nadding the spikes. It takes some minutes; the machine should be idle.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        type=Path,
        default=TABLE,
        help="table to write, for `load_crossover`; default: crossover.json next to this module",
    )
    return start(parser, words, measure)


def measure(args: Namespace) -> int:
    """Measure all cases, one after the other, write the table and return 0."""
    rows = []
    for case in CASES:
        for batch in BATCHES:
            ratios = []
            for rate in RATES:
                one = OneLayer(case.make_synapse(), case.draw_spikes(batch, rate))
                both = time_calls(lambda: one(False), lambda: one(True))  # noqa: B023
                by_spikes, dense = map(statistics.median, both)
                ratios.append(dense / by_spikes)
            rate = find_crossover(RATES, ratios)
            row = {"kind": one.layer.kind, "size": one.layer.size, "batch": batch}
            rows.append({**row, "rate": round(rate, 3)})
            print(case, batch, f"{rate:.1%}", [round(r, 1) for r in ratios], flush=True)
    machine = {"machine": platform.machine(), "cores": count_cores()}
    layers = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    args.file.write_text(f'{{"measured on": {json.dumps(machine)}, "layers": [\n{layers}\n]}}\n')
    return 0


serve_old_names(__name__)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
