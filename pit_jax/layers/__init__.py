"""Layers without a membrane: they run once on all steps of a batch, outside the time loop.

linear.py has convolutions and linear layers with their initial kernels, norm.py the batch norms,
and conv_norm.py a convolution with its norm. encoding.py turns images and frames into
`[B, T, H, W, C]`, pooling.py and attention.py have layers that Flax does not have, and remat.py
makes blocks save memory. Start at linear.py.
"""

from pit_jax.layers.encoding import add_time_axis, repeat_over_time
from pit_jax.layers.linear import check_channels, conv, dense
from pit_jax.layers.norm import NORMS, TEBN, PerStepBatchNorm, TDBatchNorm, batch_norm
from pit_jax.old_names import serve_old_names

__all__ = [
    "NORMS",
    "PerStepBatchNorm",
    "TDBatchNorm",
    "TEBN",
    "batch_norm",
    "check_channels",
    "conv",
    "dense",
    "repeat_over_time",
    "add_time_axis",
]


serve_old_names(__name__)
