"""The numbers of a run for Weights & Biases, which is imported only if a config asks for it."""

import json
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from ..errors import UserError
from ..files import write_atomically
from ..run.reading import read_json
from .jsonl import collect_scalars

FILE = "wandb.json"


def check_installed(config: ConfigDict) -> None:
    """Raise UserError if `config` asks for W&B and it is not installed."""
    if config.wandb.project:
        _import_wandb()


class WeightsAndBiases:
    """The W&B run of `workdir`; it is first sent those of the `lines` that are missing there.

    A run that resumes keeps its W&B run. Raises UserError if W&B refuses it.
    """

    def __init__(
        self, config: ConfigDict, workdir: Path, lines: Iterable[Mapping[str, Any]]
    ) -> None:
        wandb = _import_wandb()
        try:
            self._run = wandb.init(
                project=config.wandb.project,
                id=_read_or_make_id(workdir),
                # Creates the W&B run at the first start and continues it later.
                resume="allow",
                name=workdir.resolve().name,  # Resolved, because "." has no name.
                dir=str(workdir),
                config=config.to_dict(),
                # Some keys may differ when a run resumes (run/workdir.py), which W&B would refuse.
                allow_val_change=True,
                # Capturing the console would break the progress bar.
                settings={"console": "off"},
            )
        except wandb.Error as error:
            raise UserError(f"config.wandb.project: {error}") from error
        for line in lines:
            self.write_step(line)

    def write_step(self, record: Mapping[str, Any]) -> None:
        """Log the numbers of one step, unless W&B has them from an earlier start of the run."""
        if record["step"] >= self._run.starting_step:
            self._run.log(collect_scalars(record), step=record["step"], commit=True)

    write_epoch = write_step

    def close(self) -> None:
        """Wait until everything is sent."""
        self._run.finish()


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UserError(
            "config.wandb.project is set, but W&B is not installed: pip install wandb, or turn it "
            "off by --config.wandb.project= ."
        ) from error
    return wandb


def _read_or_make_id(workdir: Path) -> str:
    """Return the id of the run in W&B, which is drawn at its first start."""
    saved = read_json(workdir / FILE, dict)
    if saved is None:
        saved = {"id": secrets.token_hex(8)}
        write_atomically(workdir / FILE, json.dumps(saved))
    if not isinstance(saved.get("id"), str):
        raise UserError(f"{workdir / FILE} has no id of a W&B run; restore it or move it away.")
    return saved["id"]
