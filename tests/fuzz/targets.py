"""All targets, from the modules `targets_AREA.py` of this folder."""

from functools import cache
from importlib import import_module
from pathlib import Path

from tests.fuzz.core import Target


@cache
def list_targets() -> dict[str, Target]:
    """Return all targets by name. Raises ValueError if two have the same name."""
    found: dict[str, Target] = {}
    for file in sorted(Path(__file__).parent.glob("targets_*.py")):
        for target in import_module(f"tests.fuzz.{file.stem}").TARGETS:
            if target.name in found:
                raise ValueError(f"two targets are called {target.name!r}.")
            found[target.name] = target
    return found


def find_target(name: str) -> Target:
    """Return the target `name`; raise ValueError with all names if there is none.

    The targets of `planted.py`, each with a fault, are found too, but not listed.
    """
    planted = {target.name: target for target in import_module("tests.fuzz.planted").TARGETS}
    if name in planted:  # Without the import of JAX by the other targets.
        return planted[name]
    found = list_targets()
    if name not in found:
        raise ValueError(f"there is no target {name!r}; there are {', '.join(found)}.")
    return found[name]
