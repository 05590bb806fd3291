"""A trained network, ready to use: its weights, its classes, and the images that it takes.

run = open_run("runs/digits")
run.predict(images)  # class probabilities [B, K] from raw images

`run.py` has the class `Run`, `folder.py` opens the folder of a run. `pit_jax.examples` has a
trained network that the library ships.
"""

from pit_jax.run.folder import open_run
from pit_jax.run.run import Run

__all__ = ["Run", "open_run"]
