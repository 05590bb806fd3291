"""The numbers of a run for Weights & Biases, which is imported only where a config asks for it."""

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..files import write_atomically
from ..run.reading import read_json
from .jsonl import scalars

FILE = "wandb.json"


def check_installed(config: ConfigDict) -> None:
    """Raise UserError where `config` asks for W&B and it is not installed."""
    if config.wandb.project:
        _wandb()


class WeightsAndBiases:
    """The run of `workdir` in W&B, brought up to the `lines` so far.

    A run that resumes is the same one there. Raises UserError if W&B refuses it.
    """

    def __init__(
        self, config: ConfigDict, workdir: Path, lines: Iterable[Mapping[str, Any]]
    ) -> None:
        wandb = _wandb()
        try:
            self._run = wandb.init(
                project=config.wandb.project,
                id=_id(workdir),
                resume="allow",
                name=workdir.name,
                dir=str(workdir),
                config=config.to_dict(),
                allow_val_change=True,
                # It would stand between the progress bar and the terminal.
                settings={"console": "off"},
            )
        except wandb.Error as error:
            raise UserError(f"config.wandb.project: {error}") from error
        for line in lines:
            self.step(line)

    def step(self, record: Mapping[str, Any]) -> None:
        """Log the numbers of one step, unless they are there from before the run was stopped."""
        if record["step"] >= self._run.starting_step:
            self._run.log(scalars(record), step=record["step"], commit=True)

    epoch = step

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()


def _wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            "config.wandb.project is set, but W&B is not installed: pip install wandb, or "
            "--config.wandb.project= for none."
        ) from error
    return wandb


def _id(workdir: Path) -> str:
    """Return the id of the run in W&B, made at its first start."""
    saved = read_json(workdir / FILE, dict)
    if saved is None:
        saved = {"id": secrets.token_hex(8)}
        write_atomically(workdir / FILE, json.dumps(saved))
    return str(saved["id"])
