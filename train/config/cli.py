"""The grammar of a config on a command line: --config FILE[:variant] and --config.KEY=VALUE."""

import argparse
import difflib
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from pit_jax.arguments import Parser
from pit_jax.old_names import rename_keys, translate_flag

from ..errors import UserError
from .pages import load_page, shorten

WHICH = "give one --config FILE, e.g. --config digits; see --help."
# Options that absl took with a single dash too.
SINGLE_DASH = ("-config", "-noconfig", "-workdir", "-out")


class RunFolderAction(argparse.Action):
    """Stores the folder of a run, given by its place in the command, by an option, or by both."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del option_string
        given = getattr(namespace, self.dest, None)
        if not values:  # The place in the command is empty.
            return
        if given not in (None, values):
            parser.error("RUN and --workdir differ: give one of them")
        setattr(namespace, self.dest, values)


def add_config(parser: Parser) -> None:
    """Add the options of a config."""
    group = parser.add_argument_group("config")
    group.add_argument(
        "--config",
        required=True,
        metavar="FILE[:variant]",
        help="a file, or the name of a shipped config such as digits or cifar100:lif; each says "
        "at its head what it costs and what it reaches",
    )
    group.add_argument(
        "--config.KEY",
        metavar="VALUE",
        help="another value for one of its keys, e.g. --config.optimizer.momentum=0.8; "
        "--config.KEY and --noconfig.KEY switch a key on and off",
    )


def parse_config(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a program that takes a config, whose `config` is the ConfigDict, locked.

    `name` is that of the config with its variant, and `overrides` are the keys with other values.
    Raises UserError or UsageError for a missing or broken page, an unknown key, a value of the
    wrong type, and an unknown option, each time with the nearest that exists.
    """
    words = [f"-{word}" if word.startswith(SINGLE_DASH) else word for word in words]
    pages = _find_pages(words)
    config, name = load_page(pages[0] if len(pages) == 1 else "digits")
    keys = _flatten(_rename(config))
    words = [translate_flag(word, keys) for word in words]
    parser.hints |= _name_keys(keys)
    if len(pages) != 1:
        parser.check_options(_split(words, None)[1])  # One of them may be a mistyped --config.
        raise UserError(WHICH)
    overrides, rest = _split(words, keys)
    args = parser.parse(rest)
    args.config, args.name = _override(config, overrides), name
    args.overrides = {word.partition("=")[0].partition(".")[2] for word in overrides}
    return args


def parse(argv: Sequence[str], under: str = "runs") -> tuple[ConfigDict, Path]:
    """Return the config and the folder of the training command `argv`, as in `sys.argv`."""
    parser = Parser("train")
    add_config(parser)
    add_run(parser)
    args = parse_config(parser, argv[1:])
    return args.config, args.workdir or Path(under) / args.name


def add_run(parser: Parser, what: str = "the folder of the run") -> None:
    """Add the folder of a run, by its place or as `--workdir`."""
    add = parser.add_argument
    add("workdir", nargs="?", metavar="RUN", type=_read_folder, action=RunFolderAction, help=what)
    add(
        "--workdir",
        metavar="DIR",
        type=_read_folder,
        action=RunFolderAction,
        help="the same as RUN",
    )


def add_runs(parser: Parser, what: str) -> None:
    """Add the folders of runs, by their places or after `--workdir`."""
    add = parser.add_argument
    add("workdirs", nargs="*", metavar="RUN", type=_read_folder, action=RunFolderAction, help=what)
    add(
        "--workdir",
        nargs="+",
        dest="workdirs",
        metavar="DIR",
        type=_read_folder,
        action=RunFolderAction,
        help="the same as RUN",
    )


def _read_folder(text: str) -> Path:
    # After a `--` everything is a place: a mistyped option would become the name of a folder.
    if not text or text.startswith("-"):
        raise argparse.ArgumentTypeError(f"must be a folder, got {text!r}")
    return Path(text)


def _find_pages(words: Sequence[str]) -> list[str]:
    """Return the values of `--config`, of which there should be one."""
    found = []
    for word, following in zip(words, [*words, ""][1:], strict=True):
        option, equals, value = word.partition("=")
        if option == "--config":
            found.append(value if equals else following)
    return [page for page in found if page] if len(found) == 1 else found


def _split(words: Sequence[str], keys: dict[str, Any] | None) -> tuple[list[str], list[str]]:
    """Return the words that override a key of the config, and the others."""
    overrides: list[str] = []
    rest: list[str] = []
    remaining = iter(words)
    for word in remaining:
        if word == "--":
            rest += [word, *remaining]
        elif not word.startswith(("--config.", "--noconfig.")):
            rest.append(word)
        else:
            option, equals, _ = word.partition("=")
            key = option.partition(".")[2]
            if keys is not None:
                _check_key(key, keys)
            overrides.append(word)
            switch = option.startswith("--no") or isinstance((keys or {}).get(key), bool)
            if not equals and not switch:
                overrides += islice(remaining, 1)
    return overrides, rest


def _check_key(key: str, keys: dict[str, Any]) -> None:
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        hint = f"did you mean --config.{near[0]}? It" if near else "it"
        raise UserError(f"the config has no key {key!r}; {hint} has: {', '.join(keys)}.")


def _override(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """Return the config with other values, which keep the types of its own."""
    values, argv = flags.FlagValues(), ["train", *overrides]
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(shorten(error)) from error
    return _rename(config)


def _rename(config: ConfigDict) -> ConfigDict:
    """Return the config with the old names of its keys replaced by the new ones."""
    with config.unlocked():
        rename_keys(config)
    return config


def _flatten(config: ConfigDict) -> dict[str, Any]:
    """Return the values of the config by their whole keys, such as `optimizer.momentum`."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            found |= {f"{key}.{inner}": each for inner, each in _flatten(value).items()}
        else:
            found[key] = value
    return found


def _name_keys(keys: Sequence[str] | dict[str, Any]) -> dict[str, str]:
    """Return the answers to options that are keys of the config: `--epochs`, `--data-dir`."""
    meant = defaultdict(list)
    for key in keys:
        meant[key.rpartition(".")[2]].append(key)
    meant |= {key: [key] for key in keys}
    return {
        f"--{name.replace('_', '-')}": "did you mean "
        + " or ".join(f"--config.{key}{{value}}" for key in found)
        + "?"
        for name, found in meant.items()
    }
