"""The paper's analyses, as functions to call on any network."""

from pit_jax.analysis import capacity

__all__ = ["capacity"]
