"""Spike-driven inference: a trained network as a program of binary spikes, proved equal.

program = compile(model, variables, sample_batch)
logits = program(x)
print(program, program.verify(x))
program.save("digits.spikes"); program = load("digits.spikes")
"""

from pit_jax.inference.errors import ArtifactError, NotEqual, NotFoldable
from pit_jax.inference.program import SpikingProgram, compile, load
from pit_jax.inference.verify import Report

__all__ = [
    "ArtifactError",
    "NotEqual",
    "NotFoldable",
    "Report",
    "SpikingProgram",
    "compile",
    "load",
]
