"""Spike-driven inference: a trained network as a program of binary spikes, proved equal.

program = compile(model, variables, sample_batch)
logits = program(x)
print(program, program.verify(x))
"""

from pit_jax.inference.errors import NotEqual, NotFoldable
from pit_jax.inference.program import SpikingProgram, compile
from pit_jax.inference.proof import Report

__all__ = ["NotEqual", "NotFoldable", "Report", "SpikingProgram", "compile"]
