"""Layers without a membrane: they run once on all steps of a batch, outside the time loop."""

from pit_jax.layers.encoding import check_channels, repeat_over_time, with_time

__all__ = ["check_channels", "repeat_over_time", "with_time"]
