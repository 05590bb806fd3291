"""Find the network of a page: the shipped one, a run, or a saved program, compiled and verified."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import pit_jax
from pit_jax import artifact, examples, inference
from pit_jax.artifact import ArtifactError
from pit_jax.examples.stored import FOLDER
from pit_jax.inference import SpikingProgram
from pit_jax.inference.storage import KIND, VERSION

from .. import data
from ..data import Dataset
from ..errors import UserError
from ..export.compile_run import compile_checkpoint, normalize_images
from ..run import restore
from ..run.reading import load_run_config
from ..run.subset import check_data
from ..run.summary import format_title

# The images that a page offers: one of each class, or evenly spaced ones of many classes.
MOST_EXAMPLES = 20
# The test images with which a program is verified.
SAMPLE = 64
# Of larger images neither pixels nor spikes could be seen.
MOST_SIDE = 64
DIGITS = "digits"
# The options with which a program is compiled, unless others are given.
DEFAULTS = {"weights": "float32", "code": "thermometer"}


class Demo(NamedTuple):
    """A program with what a page says about it; `images` `[N, H, W, C]` are uint8 examples."""

    program: SpikingProgram
    title: str
    data: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    facts: dict[str, str]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape `H W C` of an image."""
        return self.program.nodes[0].shape

    @property
    def credit(self) -> str:
        """A sentence on where the examples come from, if their license asks for it."""
        return read_credit() if self.data == DIGITS and len(self.images) else ""


def open_demo(
    network: str | Path, checkpoint: str, data_dir: Path | None, options: dict[str, str]
) -> Demo:
    """Return the program of the shipped network, of a run or of a saved program.

    `options` are `weights` and `code` of `pit_jax.inference.compile`. Raises UserError for a
    network that a page cannot show and for an option that this network does not have, and
    ArtifactError for a saved program that is damaged.
    """
    of_run = {"--checkpoint": checkpoint != "last", "--data-dir": data_dir is not None}
    if isinstance(network, str):
        _refuse_given(f"{network}, the network that pit_jax ships,", of_run)
        return _open_shipped(options)
    if (network / artifact.MANIFEST).is_file():
        compiled = {f"--{name}": value != DEFAULTS[name] for name, value in options.items()}
        _refuse_given(f"{network} is a saved program and", of_run | compiled)
        return _open_program(network)
    return _open_run(network, checkpoint, data_dir, options)


def read_credit() -> str:
    """Return where the images of the shipped network come from, and their license."""
    credit: str = json.loads((FOLDER / "digits.json").read_text())["data"]
    return credit


def choose_examples(labels: np.ndarray) -> np.ndarray:
    """Return the first index of each class, or of evenly spaced classes if there are many."""
    classes, first = np.unique(labels, return_index=True)
    at = np.linspace(0, len(classes) - 1, min(MOST_EXAMPLES, len(classes))).round().astype(int)
    return first[at]


def _refuse_given(network: str, options: dict[str, bool]) -> None:
    """Raise UserError if one of the options was given, which the network would ignore."""
    if given := [name for name, is_given in options.items() if is_given]:
        them = "it" if len(given) == 1 else "them"
        raise UserError(
            f"{network} takes no {' and no '.join(given)}. Leave {them} out, or give the folder of "
            "a run."
        )


def _open_shipped(options: dict[str, str]) -> Demo:
    run = examples.digits()
    images, labels = run.images("test")
    chosen = choose_examples(labels)
    facts = {
        "network": f"{run.about['title']}, shipped with pit_jax",
        "trained by": run.about["command"],
        "accuracy": f"{run.about['test_accuracy']:.2%} of {len(labels)} test images",
        "seed": str(run.about["seed"]),
    }
    program = run.compile(images[:SAMPLE], **options)
    facts |= _describe_program(program)
    title = run.about["title"]
    return Demo(program, title, DIGITS, run.classes, images[chosen], labels[chosen], facts)


def _open_run(
    workdir: Path, checkpoint: str, data_dir: Path | None, options: dict[str, str]
) -> Demo:
    config = load_run_config(workdir, data_dir)
    # Loading the data may take minutes: a missing checkpoint is reported first.
    restore.find_checkpoint(workdir, checkpoint)
    dataset = data.load(**config.data)
    check_data(workdir, dataset)
    check_images(dataset)
    # Searched again, because a run that still trains may have deleted the first one.
    saved = restore.identify_checkpoint(workdir, checkpoint)
    program = compile_checkpoint(config, saved, dataset, **options)
    sample = dataset.test.take(range(min(SAMPLE, len(dataset.test))))["image"]
    if not program.verify(normalize_images(dataset, sample)):
        raise UserError(
            "the program differs from the quantized network, so nothing is written. Please report "
            "this bug."
        )
    examples = dataset.test.take(choose_examples(_read_labels(dataset)))
    title = format_title(config)
    facts = {
        "network": title,
        "checkpoint": f"{saved.name}, step {saved.step:,}",
        "seed": str(config.seed),
    }
    return Demo(
        program,
        title,
        dataset.name,
        tuple(dataset.classes) or tuple(map(str, range(dataset.num_classes))),
        examples["image"],
        examples["label"],
        facts | _describe_program(program),
    )


def check_images(dataset: Dataset) -> None:
    """Raise UserError unless the samples are small gray or color images of uint8."""
    shape = dataset.test.shape
    if len(shape) != 3 or not dataset.mean:
        kind = "frames of events" if len(shape) == 4 else "floats"
        raise UserError(f"{dataset.name} has {kind}; a page shows networks that read images only.")
    check_shape(dataset.name, shape)


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Raise UserError for images of another number of channels than 1 or 3, and for large ones."""
    height, width, channels = shape
    if channels not in (1, 3):
        raise UserError(
            f"the images of {name} have {channels} channels; a page shows gray and color images "
            "only."
        )
    if max(height, width) > MOST_SIDE:
        raise UserError(
            f"the images of {name} have {height} x {width} pixels; a page shows at most "
            f"{MOST_SIDE} x {MOST_SIDE}."
        )


def _open_program(folder: Path) -> Demo:
    try:
        about = artifact.read(folder, KIND, VERSION)[0].get("about")
        program = inference.load(folder)
    except ArtifactError as error:
        raise UserError(
            f"{error} Give the folder of a run, or of an export with --format directory."
        ) from error
    about = about if isinstance(about, dict) else {}
    shape = program.nodes[0].shape
    if len(shape) != 3:
        raise UserError(f"{folder} reads inputs of the shape {shape}; a page shows images only.")
    check_shape(str(folder), shape)
    if shape[-1] != 1:
        raise UserError(
            f"{folder} reads color images, which cannot be drawn, and a saved program has no "
            "images. Give the folder of its run."
        )
    classes = _read_classes(about, program.nodes[-1].shape[0])
    title = str(about.get("title") or folder.name)
    facts = {"network": title}
    facts |= {key: str(about[key]) for key in ("checkpoint", "step", "seed") if key in about}
    none = np.zeros((0, *shape), np.uint8), np.zeros(0, int)
    facts |= _describe_program(program)
    return Demo(program, title, str(about.get("data", "")), classes, *none, facts)


def _read_classes(about: dict[str, Any], number: int) -> tuple[str, ...]:
    """Return the names of the classes; numbers if the program has no names that fit."""
    names = about.get("classes")
    fits = isinstance(names, list) and len(names) == number
    return tuple(map(str, names if fits and names else range(number)))


def _read_labels(dataset: Dataset) -> np.ndarray:
    """Return the labels of the test images in memory, or of the first ones on disk."""
    if dataset.test.arrays is not None:
        return dataset.test.arrays["label"]
    labels: np.ndarray = dataset.test.take(range(min(1000, len(dataset.test))))["label"]
    return labels


def _describe_program(program: SpikingProgram) -> dict[str, str]:
    return {
        "time steps": str(program.num_steps),
        "fingerprint": program.fingerprint,
        "made by": f"pit_jax {pit_jax.__version__}",
    }
