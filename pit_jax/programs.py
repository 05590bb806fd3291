"""The programs by their names, and the one way from the library to the trainer.

In a wheel the trainer is the package `pit_jax.train`; in a clone it is `train/` next to `pit_jax/`.
"""

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

HERE = Path(__file__).parent


class Command(NamedTuple):
    """A program of the command `pit-jax`: what it does in a line, and its module."""

    summary: str
    module: str
    in_trainer: bool = True


COMMANDS = {
    "train": Command("train a network, or resume a run", "main"),
    "evaluate": Command("measure a trained network on a split or on own images", "evaluate"),
    "export": Command("compile a trained network to binary spikes, for other programs", "export"),
    "analyze": Command("make the paper's analyses of trained networks", "analyze"),
    "report": Command("make one page of HTML of some runs, side by side", "report"),
    "check": Command("look at a data set before hours are spent on it", "check"),
    "prepare": Command("convert a large data set once", "data.prepare"),
    "models": Command("count what networks hold and cost", "pit_jax.models", in_trainer=False),
    "import": Command("turn a PyTorch checkpoint into variables", "pit_jax.interop", False),
    "seeds": Command("train several seeds at once", "seeds"),
    "ledger": Command("put finished runs into the table of a clone's docs", "ledger"),
}


def load_program(name: str) -> ModuleType:
    """Import the module of a program of `COMMANDS`, which has `run` and `main`."""
    command = COMMANDS[name]
    module = command.module
    return load_trainer(module) if command.in_trainer else import_module(f"{module}.__main__")


def load_trainer(module: str) -> ModuleType:
    """Import a module of the trainer, e.g. `config.arguments`, or the program of a package."""
    found = import_module(f"{TRAINER}.{module}")
    return import_module(f"{found.__name__}.__main__") if hasattr(found, "__path__") else found


def _find_trainer() -> str:
    """Return the name under which the trainer of this very library is imported."""
    inner, folder = f"{__package__}.train", HERE.parent / "train"
    if (HERE / "train").is_dir():
        return inner
    loaded = sys.modules.get("train")
    spec = loaded.__spec__ if loaded else PathFinder.find_spec("train")
    if spec and spec.origin and Path(spec.origin).resolve() == (folder / "__init__.py").resolve():
        return "train"
    # A file train.py of the user's comes first: then the trainer takes the name that it has in a
    # wheel. This happens here, not later, so that worker processes find it by that name too.
    spec = spec_from_file_location(
        inner, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    trainer = sys.modules[inner] = module_from_spec(spec)
    spec.loader.exec_module(trainer)
    return inner


TRAINER = _find_trainer()
