"""Spike-driven inference: compile a trained network into a program of binary spikes.

program = compile(model, variables, sample_batch)
logits = program(x)
print(program, program.verify(x))
program.save("digits.spikes"); program = load("digits.spikes")
"""

from pit_jax.artifact import ArtifactError
from pit_jax.inference.errors import NotEqual, NotFoldable
from pit_jax.inference.program import SpikingProgram, compile, load
from pit_jax.inference.verify import Report
from pit_jax.old_names import serve_old_names

__all__ = [
    "ArtifactError",
    "NotEqual",
    "NotFoldable",
    "Report",
    "SpikingProgram",
    "compile",
    "load",
]

serve_old_names(__name__)
