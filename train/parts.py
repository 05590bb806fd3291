"""Check a config against the parts of a run that it names, before data are loaded."""

from ml_collections import ConfigDict

from .config.choose import check_bounds
from .monitor.health import Health
from .monitor.profile import Profile
from .program import build
from .records.loggers import Journal
from .run.checkpoint import Checkpoints


def check_parts(config: ConfigDict) -> None:
    """Raise UserError for a name or a value that a part of a run refuses, whatever the data."""
    build.check(config)
    check_bounds(Journal, config, every="log_every")
    check_bounds(Health, config, every_epochs="health.every_epochs")
    check_bounds(Profile, config, steps="profile_steps")
    check_bounds(
        Checkpoints,
        config,
        last="checkpoints.last",
        every_epochs="checkpoints.every_epochs",
        every_steps="checkpoints.every_steps",
        seconds_apart="checkpoints.seconds_apart",
    )
