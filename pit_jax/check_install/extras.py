"""The extras of the package, and which of their packages are installed."""

import sys
from importlib.metadata import PackageNotFoundError, version

# By the name in `pip install 'pit-jax[NAME]'`: what it is for, and its packages.
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": (
        "training and its programs",
        (
            *("absl-py", "optax", "orbax-checkpoint", "ml-collections", "scikit-learn"),
            *("matplotlib", "rich", "tensorboardX", "grain", "array-record", "pillow"),
            *("jinja2", "safetensors", "flatbuffers"),
        ),
    ),
    "plots": ("figures", ("matplotlib",)),
    "export": ("StableHLO, NIR, saved programs", ("flatbuffers", "nir", "safetensors")),
    "onnx": ("ONNX files", ("onnx", "onnxruntime")),
    "event-driven": ("compiled loops over spikes", ("numba",)),
    "interop": ("PyTorch checkpoints", ("safetensors",)),
    "events": ("recordings of event cameras", ("tonic", "aedat")),
    "tfds": ("data of TensorFlow Datasets", ("tensorflow-datasets", "importlib_resources")),
}
# Packages that do not exist for a platform.
ABSENT = {"win32": {"array-record"}}


def find_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def list_missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    needed = EXTRAS[extra][1]
    absent = ABSENT.get(sys.platform, set())
    return [name for name in needed if name not in absent and find_version(name) is None]
