"""The programs by name, and the only place where the library imports the trainer.

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
    """A program of the command `pit-jax`: a summary of one line, and its module."""

    summary: str
    module: str
    in_trainer: bool = True


COMMANDS = {
    "train": Command("train a network, or resume a run", "main"),
    "evaluate": Command("measure a trained network on a split or your own images", "evaluate"),
    "predict": Command("classify your own images or event recordings", "predict"),
    "export": Command("compile a trained network to binary spikes, for other programs", "export"),
    "demo": Command("write a web page that runs a network in the browser", "demo"),
    "analyze": Command("run the paper's analyses of trained networks", "analyze"),
    "report": Command("compare runs in one HTML page", "report"),
    "check": Command("check a data set before you train on it", "check"),
    "prepare": Command("convert a large data set once", "data.prepare"),
    "models": Command(
        "count parameters and operations of networks", "pit_jax.models", in_trainer=False
    ),
    "import": Command("convert a PyTorch checkpoint to variables", "pit_jax.interop", False),
    "seeds": Command("train several seeds of one config", "seeds"),
    "reproduce": Command("train the paper's tables and figures, with verdicts", "reproduce"),
    "check-install": Command(
        "report JAX's devices and the installed extras", "pit_jax.check_install", False
    ),
    "ledger": Command("add finished runs to the results table of the docs, in a clone", "ledger"),
}


def load_program(name: str) -> ModuleType:
    """Import the module of a program in `COMMANDS`; it has `run` and `main`."""
    command = COMMANDS[name]
    module = command.module
    return load_trainer(module) if command.in_trainer else import_module(f"{module}.__main__")


def load_trainer(module: str) -> ModuleType:
    """Import a module of the trainer, e.g. `config.arguments`; of a package, its `__main__`."""
    found = import_module(f"{TRAINER}.{module}")
    return import_module(f"{found.__name__}.__main__") if hasattr(found, "__path__") else found


def _find_trainer() -> str:
    """Return the name under which the trainer that belongs to this library is imported."""
    inner, folder = f"{__package__}.train", HERE.parent / "train"
    if (HERE / "train").is_dir():
        return inner
    loaded = sys.modules.get("train")
    spec = loaded.__spec__ if loaded else PathFinder.find_spec("train")
    if spec and spec.origin and Path(spec.origin).resolve() == (folder / "__init__.py").resolve():
        return "train"
    # A user's train.py comes first in the path, so the trainer takes the name that it has in a
    # wheel. Register it at import, not on first use, so that worker processes find it too.
    spec = spec_from_file_location(
        inner, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    trainer = sys.modules[inner] = module_from_spec(spec)
    spec.loader.exec_module(trainer)
    return inner


TRAINER = _find_trainer()
