"""Parts of a run that a config names by an import path, `package.module:Name`."""

from importlib import import_module
from typing import Any

from ..errors import UserError


def import_part(path: str, key: str) -> Any:
    """Import `package.module:Name`, the value of `config.KEY`; raise UserError where that fails."""
    module_name, _, name = path.partition(":")
    try:
        found = import_module(module_name)
        for each in name.split("."):
            found = getattr(found, each)
    except Exception as error:  # The module is the user's: it can raise anything.
        reason = str(error).strip() or type(error).__name__
        raise UserError(
            f"config.{key} is {path!r}, which cannot be imported ({reason})."
        ) from error
    return found
