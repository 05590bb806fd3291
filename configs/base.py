"""The keys that every config has and most leave as they are."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """A config with these keys; a file of this folder adds the rest."""
    config = ConfigDict()
    config.seed = 0
    # Virtual devices, on CPUs only; why one is the default says docs/decisions.md.
    config.cpu_devices = 1
    # A folder that pit_jax.interop wrote: the run starts from its weights.
    config.pretrained = ""
    # Kept beside the best and that of step 0: the newest few, and one every so many epochs. The
    # newest is that of an epoch, or one of every so many steps within it. 0 is never.
    config.checkpoints = {"last": 2, "every_epochs": 0, "every_steps": 0}
    return config
