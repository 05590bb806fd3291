"""Builds the rows of configs/tables/ for tests: parsed, at full size, and small."""

import importlib
import json
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs.tables import Row
from pit_jax.models import ResNet
from train.config.cli import parse
from train.data import ArraySplit, Dataset
from train.program import build

TABLES = ("2", "3", "4", "5", "7", "8", "9", "10", "11", "12")
FIGURES = ("3", "4", "5", "6", "7")
PAGES = [f"table{number}" for number in TABLES] + [f"figure{number}" for number in FIGURES]
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000, "cifar10_dvs": 10, "dvs_gesture": 11}


class Built(NamedTuple):
    """The parts of a row: the test of a training step has one row with each of them."""

    network: str
    norm: str
    neuron: str
    loss: str


def read_page(name: str):
    return importlib.import_module(f"configs.tables.{name}")


def list_trained() -> Iterator[tuple[str, Row]]:
    """Yield every row that is not cited, with the name of its page."""
    for page in PAGES:
        yield from ((page, row) for row in read_page(page).ROWS if not row.cited)


@cache
def parse_text(config: str, *overrides: str) -> str:
    """Return a config as JSON: a ConfigDict is mutable and cannot be cached."""
    words = ["main", "--config", config, *(f"--config.{override}" for override in overrides)]
    return json.dumps(parse(words)[0].to_dict())


def parse_row(row: Row, *overrides: str) -> ConfigDict:
    """Return the config of a row, parsed as the programs do."""
    return ConfigDict(json.loads(parse_text(row.config, *row.overrides, *overrides)))


def name_parts(row: Row) -> Built:
    config = parse_row(row)
    norm = config.model.get("norm", {})
    return Built(config.model.name, norm.get("name", ""), config.neuron.name, config.loss.name)


def make_dataset(config: ConfigDict, largest: int = 10_000, count: int = 2) -> Dataset:
    """Return random samples of the shape that the data set of `config` has.

    Images have sides of at most `largest`.
    """
    name = config.data.name
    size = min(config.data.get("size", 32), largest)
    frames = "num_frames" in config.data
    shape = (config.data.num_frames, size, size, 2) if frames else (size, size, 3)
    values = np.random.default_rng(0).integers(0, 4 if frames else 256, (count, *shape), np.uint8)
    split = ArraySplit(values, np.arange(count, dtype=np.int32))
    channels = 0 if frames else 3  # Frames are not normalized.
    return Dataset(name, split, split, CLASSES[name], (0.5,) * channels, (0.2,) * channels)


def count_parameters(row: Row) -> int:
    """Return the number of trainable values of a row at full size, without PIT's scales."""
    config = parse_row(row)
    build.check(config)
    dataset = make_dataset(config, count=1)
    model = build.make_network(config, dataset)
    images = jax.ShapeDtypeStruct((1, *dataset.train.shape), np.float32)
    params = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images)["params"])
    return sum(leaf.size for path, leaf in params.items() if not is_scale(path, params))


def is_scale(path: tuple[str, ...], params: dict) -> bool:
    """Return whether a parameter is PIT's or QAT's scale; the released one is `alpha` and `p`.

    The factor `p` of TEBN and the amplitude `alpha` of ternary spikes are not.
    """
    pair = {(*path[:-1], name) for name in ("alpha", "p")}
    return path[-1] == "a" or (path in pair and pair <= params.keys())


def shrink(row: Row) -> list[str]:
    """Return overrides for a quarter of a row's width, two steps, and one block of each kind.

    More steps and blocks repeat what these do, and take minutes to compile.
    """
    config = parse_row(row)
    full = build.make_network(config, make_dataset(config))
    # The first training step of a warm-up has a learning rate of 0.
    small: dict[str, object] = {"warmup_epochs": 0, "batch_size": 2}
    small["num_steps"] = min(config.num_steps, 2)
    for field in ("width", "hidden"):
        if hasattr(full, field):
            small[f"model.{field}"] = getattr(full, field) // 4
    if hasattr(full, "widths"):
        small["model.widths"] = tuple(width // 4 for width in full.widths)
    if hasattr(full, "heads"):  # They must divide the width.
        small["model.heads"] = full.heads // 2
    if hasattr(full, "stages"):
        # The shortcut of the first block in a stage of a ResNet differs from the others.
        kinds = 2 if isinstance(full, ResNet) else 1
        small["model.stages"] = tuple(min(blocks, kinds) for blocks in full.stages)
    if hasattr(full, "depth"):
        small["model.depth"] = 1
    return [f"{key}={value}" for key, value in small.items()]
