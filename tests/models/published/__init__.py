"""The published networks at full size: a row buys the tests of its integers."""

from tests.models.published.plain import PLAIN
from tests.models.published.residual import RESIDUAL
from tests.models.published.transformers import TRANSFORMERS

PUBLISHED = RESIDUAL + PLAIN + TRANSFORMERS

__all__ = ["PUBLISHED"]
