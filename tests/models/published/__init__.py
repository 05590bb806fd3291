"""The published networks at full size; each row is tested against the code."""

from tests.models.published.plain import PLAIN
from tests.models.published.residual import RESIDUAL
from tests.models.published.transformers import TRANSFORMERS

PUBLISHED = RESIDUAL + PLAIN + TRANSFORMERS

__all__ = ["PUBLISHED"]
