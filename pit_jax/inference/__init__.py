"""Spike-driven inference: a trained network as a program of binary spikes, proved equal.

program = compile(model, variables, sample_batch)
logits = program(x)
print(program, program.verify(x))
program.save("digits.spikes"); program = load("digits.spikes")
"""

from pit_jax.inference.errors import ArtefactError, NotEqual, NotFoldable
from pit_jax.inference.program import SpikingProgram, compile, load
from pit_jax.inference.verify import Report

__all__ = [
    "ArtefactError",
    "NotEqual",
    "NotFoldable",
    "Report",
    "SpikingProgram",
    "compile",
    "load",
]
