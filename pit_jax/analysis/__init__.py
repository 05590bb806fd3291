"""The paper's analyses, as functions to call on any network."""

from pit_jax.analysis import capacity, information, quantisation

__all__ = ["capacity", "information", "quantisation"]
