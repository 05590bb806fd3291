"""Spiking neurons that fire integers through a learned, invertible scale (PIT, ICLR 2026).

Arrays are batch-major everywhere: `B T H W C` are batch, time step, height, width and channel.
Time is counted in steps; membrane potentials carry the unit of the input current.
"""

from pit_jax import initializers, interop, layers, models, neurons, surrogate
from pit_jax.old_names import serve_old_names

__version__ = "0.1.0"

__all__ = ["initializers", "interop", "layers", "models", "neurons", "surrogate", "__version__"]

serve_old_names(__name__)
