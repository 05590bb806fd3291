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
    return config
