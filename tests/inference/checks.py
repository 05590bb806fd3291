"""Checks of programs that several files of tests share."""

import numpy as np

from pit_jax.inference import SpikingProgram
from pit_jax.inference.event_driven import all_dense, all_event_driven, look_up_crossover


def assert_runtime_equals_program(program: SpikingProgram, x) -> None:
    """Compare the event-driven runtime with the counts of the program, however its layers run."""
    x = np.asarray(x)
    want = np.asarray(program.watch(x, "counts")[0])
    for crossover in (all_event_driven, all_dense, look_up_crossover):
        runtime = program.event_driven(crossover)
        assert np.array_equal(runtime(x), want)
        # A second call is independent of the state that the first one left.
        assert np.array_equal(runtime(x), want)
