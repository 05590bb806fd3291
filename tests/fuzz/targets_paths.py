"""Targets: paths, names in outputs, command lines, and saved configs that a user gives."""

import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict
from hypothesis import strategies as st
from matplotlib.text import Text

from pit_jax.display import CONTROLS, escape_controls, escape_formula, escape_math, show_name
from pit_jax.paths import read_path
from tests.fuzz.core import FileTarget, ValueTarget
from train.config.arguments import GRAMMARS, parse
from train.config.cli import parse as parse_training
from train.terminal import Terminal

ANY = st.text(st.characters(codec=None), max_size=40)
# What has a meaning for one of the places where names are shown.
MARKED = st.lists(
    st.sampled_from(
        ["$", "\\", "_", "[", "/", "]", ":dog:", "=", "-", "@", "\x1b", "\n", "a", "1"]
    ),
    max_size=12,
).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY | st.just("name"), inner),
    max_leaves=5,
)
WORDS = st.lists(
    st.sampled_from(
        [
            *(
                "--config",
                "--config=digits",
                "--config.seed=1",
                "--config.model",
                "--workdir",
                "--",
            ),
            *("--out", "--split", "test", "--folder", "--format", "onnx", "--only", "rates", "-1"),
            *(
                "--seeds",
                "0,1",
                "--samples",
                "5",
                "imagenet",
                "--source",
                "--noconfig.x",
                "--help=",
            ),
        ]
    )
    | ANY
    | MARKED,
    max_size=6,
)


def check_path(text: str) -> None:
    """Read a text as a path: one that can be written as UTF-8, and that means itself."""
    path = read_path(text)
    assert os.fspath(path).encode() and read_path(path) == path


def check_name(name: str) -> None:
    """Show a name in a terminal, a figure and a table; it must be text there."""
    assert not CONTROLS.search(escape_controls(name)) and "\n" not in show_name(name)
    shown, math = Text(text=escape_math(name), parse_math=True)._preprocess_math(escape_math(name))
    assert math is False and shown.removeprefix("\u200b") == escape_controls(name)
    screen = Terminal(file=io.StringIO(), width=10_000, color_system=None, force_terminal=True)
    screen.print(show_name(name), soft_wrap=True)
    assert screen.file.getvalue().rstrip("\n") == show_name(name).rstrip("\n")  # type: ignore[attr-defined]
    written = io.StringIO()
    csv.writer(written).writerow([escape_formula(name), escape_formula(-1.5)])
    cell, number = next(csv.reader(io.StringIO(written.getvalue(), newline="")))
    assert number == "-1.5" and not cell.startswith(("=", "+", "@", "\t"))


def check_command(program_and_words: tuple[str, list[str]]) -> None:
    """Parse a command line; its paths must be ones that can be written."""
    program, words = program_and_words
    for value in vars(parse(program, words)).values():
        assert not isinstance(value, Path) or read_path(value) == value


def write_configs(folder: Path) -> list[Path]:
    """Write the configs of two runs."""
    files = []
    for page in ("digits", "dvs_digits:lif"):
        config, _ = parse_training(["main", "--config", page])
        files.append(folder / page.replace(":", "_") / "config.json")
        files[-1].parent.mkdir(parents=True)
        files[-1].write_text(json.dumps(config.to_dict(), indent=2))
    return files


def check_json(changes: list[tuple[int, Any]]) -> None:
    """Read a saved config some of whose values and sections are replaced by any JSON."""
    with tempfile.TemporaryDirectory() as folder:
        file = write_configs(Path(folder))[0]
        flat = flatten_dict(json.loads(file.read_text()), keep_empty_nodes=True)
        keys = list(dict.fromkeys(key[: i + 1] for key in flat for i in range(len(key))))
        saved = unflatten_dict(flat)
        for at, value in changes:
            section = saved
            *path, last = keys[at % len(keys)]
            for part in path:
                section = section[part] if isinstance(section.get(part), dict) else {}
            section[last] = value
        file.write_text(json.dumps(saved))
        read_config(file)


def read_config(file: Path) -> None:
    """Read a saved config as a page; the result must have all sections of a run."""
    config, _ = parse_training(["main", "--config", str(file)])
    assert {"data", "model", "neuron", "optimizer"} <= set(config)
    json.dumps(config.to_dict())


TARGETS = [
    ValueTarget("texts of paths", ANY | ANY.map(lambda t: f"~{t}"), check_path, ("path",)),
    ValueTarget("names in outputs", ANY | MARKED, check_name),
    ValueTarget(
        "command lines",
        st.tuples(st.sampled_from(sorted(GRAMMARS)), WORDS),
        check_command,
        ("--", "config", "option", "arguments", "argument", "RUN"),
    ),
    ValueTarget(
        "saved configs of any shape",
        st.lists(st.tuples(st.integers(0, 999), JSON), min_size=1, max_size=3),
        check_json,
        ("config",),
    ),
    FileTarget("saved configs", write_configs, read_config, ("config",)),
]
