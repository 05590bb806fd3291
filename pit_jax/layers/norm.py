"""Normalisation over batch, time and space.

A network takes its norm as a callable with the fields `use_running_average`, `scale_init`, `dtype`
and `name`, all by keyword, which makes a module `[B, T, ..., C] -> [B, T, ..., C]`.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn

Norm = Callable[..., nn.Module]

# PyTorch's momentum 0.1 is Flax's 0.9. One set of statistics and parameters for all steps.
batch_norm: Norm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5, param_dtype=float)
