"""The command line of all programs: --config FILE[:variant], --config.KEY=VALUE, a folder."""

import argparse
import difflib
from pathlib import Path
from typing import NoReturn, cast

from absl import flags
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict, config_flags

from pit_jax.old_names import rename_keys, translate_flag

from ..errors import UserError

USAGE = """
usage: python -m train.{program} --config FILE[:variant] [--config.KEY=VALUE ...] [--{place} DIR]

  --config FILE[:variant]   a file under configs/; each says at its head what it costs and gives
  --config.KEY=VALUE        another value for one key of it, e.g. --config.optimizer.momentum=0.8
  --{place} DIR{pad}where everything is written; default: {under}/ and the config's name
  --help                    this page
"""


class Parser(argparse.ArgumentParser):
    """For programs without a config: a mistake is a UserError, and names are not abbreviated."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help.")


def usage(program: str, place: str = "workdir", under: str = "runs") -> str:
    """How to call `train.PROGRAM`, which writes to `--PLACE DIR`."""
    pad = " " * (20 - len(place))
    return USAGE.format(program=program, place=place, under=under, pad=pad)


def parse(argv: list[str], place: str = "workdir", under: str = "runs") -> tuple[ConfigDict, Path]:
    """The config with its overrides, locked, and the folder to write to: `--PLACE DIR`.

    `argv` is as in `sys.argv`; without the flag the folder is `under` and the config's name.
    Raises UserError for a missing or broken file, an unknown key (naming the nearest valid one), a
    value of the wrong type, or an unknown flag.
    """
    argv = [translate_flag(word) for word in argv]
    file = _config_file(argv)
    try:
        plain, _ = _read([argv[0], f"--config={file}"], place)
    except Exception as error:  # The file is a program: it can raise anything.
        raise UserError(f"{file}: {_last_line(error)}") from error
    if not isinstance(config := plain["config"].value, ConfigDict):
        raise UserError(f"{file}: get_config() gives no ConfigDict but {config!r}.")
    with config.unlocked():
        rename_keys(config)
    for override in argv[1:]:
        if override.lstrip("-").startswith(("config.", "noconfig.")):
            _check_key(override, config)
    try:
        values, rest = _read(argv, place)
    except (flags.Error, OSError, TypeError, ValueError) as error:
        raise UserError(_last_line(error)) from error
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r}; see --help.")
    path, _, variant = file.partition(":")
    name = Path(path).stem + (f"_{variant}" if variant else "")
    config = cast(ConfigDict, values["config"].value)
    with config.unlocked():
        rename_keys(config)
    return config, Path(values[place].value or f"{under}/{name}")


def _read(argv: list[str], place: str) -> tuple[flags.FlagValues, list[str]]:
    """The parsed flags and the arguments that are none."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=values, sys_argv=argv)
    flags.DEFINE_string(place, None, "", flag_values=values)
    return values, values(argv)[1:]


def _config_file(argv: list[str]) -> str:
    files = [
        arg.partition("=")[2] or following
        for arg, following in zip(argv, [*argv[1:], ""], strict=True)
        if arg.partition("=")[0] in ("--config", "-config")
    ]
    if len(files) != 1 or not files[0]:
        raise UserError("give one --config FILE, e.g. --config configs/digits.py; see --help.")
    if not Path(path := files[0].partition(":")[0]).is_file():
        raise UserError(f"there is no config file {path}; see configs/.")
    return files[0]


def _check_key(override: str, config: ConfigDict) -> None:
    key = override.lstrip("-").partition("=")[0].removeprefix("no").removeprefix("config.")
    keys = flatten_dict(config.to_dict(), sep=".")
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"the config has no key {key!r}; {hint}it has: {', '.join(keys)}.")


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
