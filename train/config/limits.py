"""Rules between keys of a config; `bounds.py` checks single values.

Also the epochs of a run that `config.extend` continues after its end.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError


def check_rules(config: ConfigDict) -> None:
    """Raise UserError for values that contradict each other."""
    if config.warmup_epochs >= config.epochs:
        raise UserError(
            f"config.epochs must be more than config.warmup_epochs, {config.warmup_epochs}, in "
            f"which the learning rate only rises; got {config.epochs}. For a short run also give "
            "--config.warmup_epochs=0."
        )
    if config.get("min_learning_rate", 0) > config.learning_rate:
        raise UserError(
            f"config.min_learning_rate must be at most config.learning_rate, "
            f"{config.learning_rate}, got {config.min_learning_rate}."
        )
    extensions = list_extensions(config)
    if any(number < 0 for number in extensions):
        raise UserError(f"config.extend must be at least 0, got {min(extensions)}.")
    if list(extensions) != sorted(set(extensions)):
        raise UserError(
            f"config.extend must rise, as in (10, 20), got {extensions}: each number counts the "
            "epochs since config.epochs."
        )


def list_extensions(config: ConfigDict | Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ends of all extensions of a run, in epochs after `config.epochs`.

    `config.extend` is one number, or several for a run that was extended several times.
    """
    given = config.get("extend", 0)
    numbers = (given,) if isinstance(given, int) else tuple(given)
    # As elsewhere in a config, 0 means never.
    return tuple(number for number in numbers if number)


def count_epochs(config: ConfigDict | Mapping[str, Any]) -> int:
    """Return the number of epochs of a run, with those of its extensions."""
    return int(config["epochs"] + max(list_extensions(config), default=0))
