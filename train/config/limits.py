"""Rules between keys of a config; `bounds.py` checks single values."""

from ml_collections import ConfigDict

from ..errors import UserError


def check_rules(config: ConfigDict) -> None:
    """Raise UserError for values that contradict each other."""
    if config.warmup_epochs >= config.epochs:
        raise UserError(
            f"config.warmup_epochs must be less than config.epochs, {config.epochs}, "
            f"got {config.warmup_epochs}."
        )
    if config.get("min_learning_rate", 0) > config.learning_rate:
        raise UserError(
            f"config.min_learning_rate must be at most config.learning_rate, "
            f"{config.learning_rate}, got {config.min_learning_rate}."
        )
