"""Convert weights of PyTorch networks to our variables: `convert(load(PATH), model, images)`.

Nothing here imports torch or executes code from a file. `python -m pit_jax.interop` is the same as
a command.
"""

from pit_jax.interop.convert import complete, convert, find_layout, is_of_neuron
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.files import load
from pit_jax.interop.layouts import LAYOUTS
from pit_jax.interop.store import read, write
from pit_jax.old_names import serve_old_names

__all__ = [
    "LAYOUTS",
    "CheckpointError",
    "complete",
    "convert",
    "find_layout",
    "load",
    "is_of_neuron",
    "read",
    "write",
]

serve_old_names(__name__)
