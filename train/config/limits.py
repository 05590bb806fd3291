"""Rules across keys of a config; the bounds of single values are at the parts that take them."""

from ml_collections import ConfigDict

from ..errors import UserError


def check_rules(config: ConfigDict) -> None:
    """Raise UserError for values that do not fit each other."""
    if config.warmup_epochs >= config.epochs:
        raise UserError(
            f"config.warmup_epochs must be less than config.epochs, {config.epochs}, "
            f"got {config.warmup_epochs}."
        )
