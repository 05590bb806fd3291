"""Parses configs on a command line: --config FILE[:variant] and --config.KEY=VALUE."""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from pit_jax.arguments import Parser, at_least, path
from pit_jax.old_names import rename_keys

from ..errors import UserError
from .help import format_page
from .overrides import PREFIXES, override
from .pages import load_page
from .places import expand_places
from .sections import abbreviate, list_keys, list_set_keys

WHICH = "give one --config FILE, e.g. --config digits; see --help."
MOST_SEEDS = 1024  # More are a mistake in typing.
NEEDED = "give the folder of a run: RUN"
# The name of the network of `pit_jax.examples` where a program takes a run.
SHIPPED_NETWORK = "digits"
# Earlier versions parsed with absl, which also allows a single dash before these options.
SINGLE_DASH = ("-config", "-noconfig", "-workdir", "-out")


class RunFolderAction(argparse.Action):
    """Stores the folder of a run, given by position, by `--workdir`, or by both."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del option_string
        given = getattr(namespace, self.dest, None)
        if not values:  # argparse calls this for an absent positional argument too.
            return
        if isinstance(values, list):  # A run given twice, perhaps through a link, counts once.
            found: dict[Path, Path] = {}
            for place in values:
                found.setdefault(place.resolve(), place)
            values = list(found.values())
        if given not in (None, values):
            parser.error("RUN and --workdir differ: give one of them")
        setattr(namespace, self.dest, values)


def add_config(parser: Parser) -> None:
    """Add the options `--config` and `--config.KEY`."""
    group = parser.add_argument_group("config")
    group.add_argument(
        "--config",
        required=True,
        metavar="FILE[:variant]",
        help="a file, or the name of a shipped config such as digits or cifar100:lif; the head of "
        "each file states its cost and its result",
    )
    group.add_argument(
        "--config.KEY",
        metavar="VALUE",
        help="another value for one of its keys, e.g. --config.optimizer.momentum=0.8; "
        "--config.KEY and --noconfig.KEY switch a key on and off",
    )


def parse_config(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a program that takes a config.

    The result has the locked ConfigDict as `config`, the page with its variant as `name`, and the
    keys that flags set as `overrides`. Raises UserError or UsageError for a missing or broken page,
    an unknown key, a value of the wrong type, and an unknown option, and suggests the nearest name.
    """
    words = expand_dashes(words)
    pages = find_pages(words)
    # Without a page, the keys of any page explain options such as --epochs.
    page = load_page(pages[0] if len(pages) == 1 else "digits")
    rename(page.config)
    if len(pages) != 1:
        parser.hints |= _name_keys(list_set_keys(page.config))
        # --config itself may be mistyped: report an unknown option first.
        parser.check_options([word for word in words if not word.startswith(PREFIXES)])
        raise UserError(WHICH)
    parser.hints |= _name_keys(list_keys(page.config))
    rest, overrides = override(page.config, words)
    expand_places(page.config)
    args = parser.parse(rest)
    args.config, args.name, args.overrides = page.config, page.name, overrides
    return args


def describe_config(words: Sequence[str]) -> str:
    """Return the help of the config in `words` with its overrides; empty without a config."""
    words = expand_dashes([word for word in words if word not in ("-h", "--help")])
    pages = find_pages(words)
    if len(pages) != 1:
        return ""
    try:
        page = load_page(pages[0])
        rename(page.config)
        override(page.config, words)
    except UserError as error:  # The help of the options is still printed.
        return f"\nno keys are shown: {error}\n"
    return format_page(page, pages[0])


def parse(argv: Sequence[str], under: str = "runs") -> tuple[ConfigDict, Path]:
    """Return the config and the folder of a training command; `argv` is as `sys.argv`."""
    parser = Parser("train")
    add_config(parser)
    add_run(parser)
    args = parse_config(parser, argv[1:])
    return args.config, args.workdir or Path(under) / args.name


def add_run(parser: Parser, what: str = "the folder of the run") -> None:
    """Add the folder of a run, as a positional argument and as `--workdir`."""
    add = parser.add_argument
    add("workdir", nargs="?", metavar="RUN", type=read_folder, action=RunFolderAction, help=what)
    add(
        "--workdir",
        metavar="DIR",
        type=read_folder,
        action=RunFolderAction,
        help="the same as RUN",
    )


def add_runs(parser: Parser, what: str) -> None:
    """Add the folders of runs, as positional arguments and as `--workdir`."""
    add = parser.add_argument
    add("workdirs", nargs="*", metavar="RUN", type=read_folder, action=RunFolderAction, help=what)
    add(
        "--workdir",
        nargs="+",
        dest="workdirs",
        metavar="DIR",
        type=read_folder,
        action=RunFolderAction,
        help="the same as RUN",
    )


def add_run_and_checkpoint(parser: Parser, several: bool = False) -> None:
    """Add the options that select a run, by its folder, and one of its checkpoints."""
    if several:
        add_runs(parser, "the folders of runs, finished or not; several are compared")
    else:
        add_run(parser, "the folder of a run, finished or not")
    parser.needed["workdirs" if several else "workdir"] = NEEDED
    add_checkpoint(parser)


def add_demo(parser: Parser) -> None:
    """Write a web page that runs a trained network in the browser.

    The page is one file that opens from disk and requests nothing. A visitor draws an image, or
    clicks a test image, and watches the spikes of every layer, the additions and the answer. The
    network is compiled and verified as for export, and the page computes the same bits.
    """
    add = parser.add_argument
    add(
        "network",
        type=read_network,
        metavar="RUN",
        help="the folder of a run, or of an export with --format directory; digits: the network "
        "that pit_jax ships",
    )
    parser.hints["--workdir"] = "give RUN without an option."
    add_checkpoint(parser)
    add(
        "--out",
        type=path,
        default=Path("demo.html"),
        metavar="FILE.html",
        help="default: demo.html",
    )
    add_overwrite(parser)
    add(
        "--weights",
        choices=("float32", "int16", "int8"),
        default="float32",
        help="int8 makes the smallest page; default: float32, as for export",
    )
    add(
        "--code",
        choices=("thermometer", "bitwise"),
        default="thermometer",
        help="the slots of a count, as for export; default: thermometer",
    )
    add_places(parser)


def add_checkpoint(parser: Parser) -> None:
    """Add the option that selects a checkpoint of a run."""
    parser.add_argument(
        "--checkpoint", choices=("last", "best"), default="last", help="default: last"
    )


def add_overwrite(parser: Parser) -> None:
    """Add the option that allows programs to replace earlier output."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the output of an earlier call"
    )


def add_places(parser: Parser) -> None:
    """Add the option for the folder of the data."""
    parser.add_argument(
        "--data-dir", type=path, metavar="DIR", help="the folder of the data, if it has changed"
    )


def add_cpu_devices(parser: Parser) -> None:
    """Add the option for the number of virtual devices."""
    parser.add_argument(
        "--cpu-devices", type=at_least(1), metavar="N", help="default: as in training"
    )


def read_seeds(text: str) -> list[int]:
    """Return the seeds in an argument of a command line, as an argparse type does."""
    # Compared as numbers: 1 and 01 are the same seed.
    texts = text.split(",")
    if len(texts) > MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_SEEDS} seeds, got {len(texts):,}")
    if not all(each.isdigit() for each in texts) or len(set(map(int, texts))) < len(texts):
        raise argparse.ArgumentTypeError(
            f"must be different whole numbers, as in 0,1,2,3; got {text!r}"
        )
    return [int(each) for each in texts]


def read_folder(text: str) -> Path:
    """Return the folder of a run in an argument of a command line, as an argparse type does."""
    # After `--` every word is positional: an option there would become the name of a folder.
    if not text or text.startswith("-"):
        raise argparse.ArgumentTypeError(f"must be a folder, got {text!r}")
    return path(text)


def read_network(text: str) -> str | Path:
    """Return `SHIPPED_NETWORK` for its name, and the folder in any other argument."""
    return text if text == SHIPPED_NETWORK else read_folder(text)


def find_pages(words: Sequence[str]) -> list[str]:
    """Return the values of all `--config`; a valid command has one."""
    found = []
    for word, following in zip(words, [*words, ""][1:], strict=True):
        option, equals, value = word.partition("=")
        if option == "--config":
            found.append(value if equals else following)
    # A single --config without a value counts as none.
    return [page for page in found if page] if len(found) == 1 else found


def expand_dashes(words: Sequence[str]) -> list[str]:
    """Return the words with two dashes where earlier versions allowed one."""
    return [f"-{word}" if word.startswith(SINGLE_DASH) else word for word in words]


def rename(config: ConfigDict) -> None:
    """Rename keys of a config that had another name in earlier versions."""
    with config.unlocked():
        rename_keys(config)


def _name_keys(keys: Sequence[str] | dict[str, Any]) -> dict[str, str]:
    """Return hints for options that are keys of the config, such as `--epochs` and `--lr`."""
    meant = defaultdict(list)
    for key in keys:
        name = key.rpartition(".")[2]
        meant[name].append(key)
        if short := abbreviate(name):
            meant[short].append(key)
    meant |= {key: [key] for key in keys}
    return {
        f"--{name.replace('_', '-')}": "did you mean "
        + " or ".join(f"--config.{key}{{value}}" for key in found)
        + "?"
        for name, found in meant.items()
    }
