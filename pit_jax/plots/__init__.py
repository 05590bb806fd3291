"""Pictures of spikes, membranes, events and the neuron: from arrays to a matplotlib figure.

raster: spikes.py      trace: membrane.py      heatmap: layers.py      neuron: scheme.py
frames, animate: video.py
Each function has the themes light and dark of style.py. `pit_jax.analysis.plots` draws the results
of analyses. docs/guide/plots.md shows every picture with its code.
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("figures need matplotlib: pip install 'pit-jax[plots]'.") from error

from pit_jax.plots.layers import heatmap
from pit_jax.plots.membrane import trace
from pit_jax.plots.scheme import neuron
from pit_jax.plots.spikes import raster
from pit_jax.plots.video import animate, frames

__all__ = ["animate", "frames", "heatmap", "neuron", "raster", "trace"]
