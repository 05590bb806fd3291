"""The options of every program: what `--help` prints, and how a command line is read.

It imports nothing that takes long, so that `pit-jax PROGRAM --help` answers at once.
"""

import argparse
from collections.abc import Callable, Sequence
from inspect import getdoc
from pathlib import Path
from typing import NamedTuple

from pit_jax.arguments import Parser, UsageError, at_least, start
from pit_jax.old_names import translate_analysis

from ..errors import UserError
from .cli import add_config, add_run, add_runs, describe_config, parse_config

FORMATS = {
    "directory": "pit_jax.inference.load",
    "stablehlo": "JAX without pit_jax",
    "onnx": "onnxruntime and others",
    "nir": "simulators that read NIR",
}
# The analyses, a file of train/analyze/ for each, in the order of their page, and what they show.
ANALYSES = {
    "learning": "loss and accuracy over the epochs, and how soon another run's end is reached",
    "rates": "firing rates, integers, dead and saturated channels, synchrony",
    "scales": "the learned scales of PIT at the start and now",
    "membranes": "the density of the membranes over the time steps",
    "quantization": "binary, min-max and 3-sigma ranges on the membranes",
    "information": "how much information a spike keeps about its membrane",
    "capacity": "how many spike trains and values a layer can send",
    "energy": "operations, memory traffic and energy, next to the same network with activations",
    "memory": "what a training step keeps in memory",
    "landscape": "the loss around the weights",
    "oscillation": "how often an integer changes from step to step of training, and in time",
}
NEEDED = "give the folder of a run: RUN"
CONFIG_IS_FIXED = "the config of a run is fixed; this program reads it from the folder."


class Grammar(NamedTuple):
    """A program: its module, what adds its options, examples, and, with a config, its outputs.

    The docstring of `add` is the description in `--help`.
    """

    module: str
    add: Callable[[Parser], None]
    examples: str
    under: str = ""


def run_program(
    program: str,
    run: Callable[[argparse.Namespace], int],
    words: Sequence[str],
    prog: str | None = None,
) -> int:
    """Parse `words` as those of `program`, call `run` and return its exit code.

    A mistake of the user becomes one line and the exit code 2. With `--config`, `--help` also shows
    the keys of that config.
    """
    parser = build_parser(program, prog)
    parser.describe = describe_config if GRAMMARS[program].under else parser.describe
    return start(
        parser,
        words,
        run,
        parse=lambda parser, words: parse(program, words, parser),
        mistakes=(UsageError, UserError),
    )


def build_parser(program: str, prog: str | None = None) -> Parser:
    """Return the parser of a program, which is called as `prog`."""
    grammar = GRAMMARS[program]
    prog = prog or f"python -m {__package__.partition('.config')[0]}.{grammar.module}"
    parser = Parser(prog, getdoc(grammar.add) or "", f"examples:\n{grammar.examples}")
    if grammar.under:
        add_config(parser)
    else:
        parser.hints["--config"] = CONFIG_IS_FIXED
    grammar.add(parser)
    return parser


def parse(program: str, words: Sequence[str], parser: Parser | None = None) -> argparse.Namespace:
    """Parse the words after the name of a program; raise UserError or UsageError for a mistake."""
    parser = parser or build_parser(program)
    under = GRAMMARS[program].under
    if not under:
        return parser.parse(words)
    args = parse_config(parser, words)
    place = "out" if program == "check" else "workdir"
    if getattr(args, place) is None:
        setattr(args, place, Path(under) / args.name)
    return args


def _add_train(parser: Parser) -> None:
    """Train a network.

    The same command again resumes a run that was stopped. Started in several processes, it is
    one run.
    """
    add_run(parser, "where everything is written; default: runs/ and the name of the config")
    group = parser.add_argument_group(
        "several processes",
        "On bare machines only: srun, mpirun and TPU slices let the processes find each other.",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where the first one listens")
    group.add_argument("--processes", type=int, metavar="N", help="how many train together")
    group.add_argument("--process", type=int, metavar="I", help="which one this is, from 0 on")


def _add_seeds(parser: Parser) -> None:
    """Train several seeds at once.

    Each becomes an ordinary run in RUN/seed_SEED, bit for bit as if trained alone. The same
    command again resumes where it was stopped. For networks that leave cores idle.
    """
    add_run(parser, "where each seed gets a folder; default: runs/seeds/ and the config's name")
    parser.add_argument(
        "--seeds",
        required=True,
        type=_read_seeds,
        metavar="S,S,...",
        help="such as 0,1,2,3, each on a device of its own; on a CPU these are virtual",
    )


def _add_check(parser: Parser) -> None:
    """Check the data before hours are spent on them.

    It loads the data set as training would (and so downloads or prepares it), compares archives
    and counts with what was published, looks for samples that are in both splits, draws a
    contact sheet, raw and augmented, and measures loading against training. Its last line is
    "ready"; otherwise it lists what is left to do, and the exit code is 2.
    """
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder of the contact sheet; default: runs/check/ and the config's name",
    )


def _add_evaluate(parser: Parser) -> None:
    """Measure a trained network.

    It reports loss, top-1 and top-5 accuracy, the accuracy of each class, the confusion
    matrix, calibration, and the firing rate of every neuron layer at each step.
    """
    _add_run_and_checkpoint(parser)
    add = parser.add_argument
    add(
        "--split",
        choices=("test", "train", "validation"),
        help="of the run's data, without augmentation; default: test",
    )
    add("--folder", type=Path, metavar="DIR", help="own images instead: DIR/CLASS/*.png")
    add(
        "--out",
        type=Path,
        metavar="FILE.json",
        help="default: RUN/evaluation/CHECKPOINT_SPLIT.json; a picture is written next to it",
    )
    _add_overwrite(parser)
    _add_places(parser)
    add("--batch-size", type=at_least(1), metavar="N", help="default: that of training")
    _add_cpu_devices(parser)


def _add_export(parser: Parser) -> None:
    """Compile a trained network to binary spikes, verify it and write it for other programs.

    It is compared with its integers, to the bit, and with the trained network on all test
    samples; nothing is written unless spikes and logits are equal. proof.json, next to the
    program, has what was found, what the program takes and the names of its classes.
    """
    _add_run_and_checkpoint(parser)
    add = parser.add_argument
    add(
        "--format",
        choices=FORMATS,
        required=True,
        help="; ".join(f"{name}: for {readers}" for name, readers in FORMATS.items()),
    )
    add("--out", type=Path, metavar="DIR", help="default: RUN/export/CHECKPOINT_FORMAT")
    _add_overwrite(parser)
    add(
        "--weights",
        choices=("float32", "int16", "int8"),
        default="float32",
        help="float32 holds all bits that are exact in it; default: float32",
    )
    add(
        "--code",
        choices=("thermometer", "bitwise"),
        default="thermometer",
        help="of a count: thermometer has a slot for each level; default: thermometer",
    )
    add("--pixels", action="store_true", help="stablehlo takes the uint8 images of the data")
    _add_places(parser)
    add(
        "--batch-size",
        type=at_least(1),
        metavar="N",
        help="of the verification; default: that of training",
    )


def _add_analyze(parser: Parser) -> None:
    """Analyze trained networks.

    Each analysis gets a folder with its figures as PNG and SVG and its tables as CSV;
    index.html shows all of them. They are written one by one, and the same command continues
    where it was stopped.
    """
    _add_run_and_checkpoint(parser, several=True)
    add = parser.add_argument
    add(
        "--only",
        type=_read_analyses,
        default=list(ANALYSES),
        metavar="NAME,NAME",
        help="some of the analyses below; default: all",
    )
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: RUN/analysis/CHECKPOINT, and of several runs ./analysis",
    )
    _add_overwrite(parser)
    # An interval over samples takes two of them.
    add(
        "--samples",
        type=at_least(2),
        metavar="N",
        help="for every analysis; default: each its own number, which its page names",
    )
    _add_places(parser)
    _add_cpu_devices(parser)
    listed = "\n".join(f"  {name:<16}{what}" for name, what in ANALYSES.items())
    parser.epilog = f"{parser.epilog}\n\nanalyses:\n{listed}"


def _add_report(parser: Parser) -> None:
    """Make one page of HTML of some runs.

    It shows curves, firing rates, the scales of PIT, the health of all layers, speed, config and
    environment of every run, and compares them. It needs no other file and no network.
    """
    add_runs(parser, "the folders of runs, finished or not; nothing in them is changed")
    parser.needed["workdirs"] = NEEDED
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("report.html"),
        metavar="FILE.html",
        help="only a page of this program is ever replaced; default: report.html",
    )


def _add_ledger(parser: Parser) -> None:
    """Put finished runs into docs/results.md of a clone.

    Each becomes docs/runs/NAME.json (config, environment, summary, every epoch); the table is
    written again from all of these files, runs that differ only in their seed in one row.
    """
    add_runs(parser, "the folders of finished runs; without any the table is only written again")


def _add_prepare(parser: Parser) -> None:
    """Convert a data set once.

    Stopped or killed, the same command continues with what is missing. On a finished folder it
    checks the hash of every file.
    """
    add = parser.add_argument
    add("name", metavar="NAME", help="of the data set: imagenet")
    add("--source", required=True, type=Path, metavar="DIR", help="the files as downloaded")
    add("--out", required=True, type=Path, metavar="DIR", help="a new folder, or an unfinished one")
    add(
        "--workers",
        type=at_least(1),
        metavar="N",
        help="processes that read and write; default: one for each core",
    )
    add(
        "--size",
        type=at_least(0),
        default=0,
        metavar="N",
        help="make images smaller, to a shorter side of N pixels; default 0: as they are",
    )
    add(
        "--verify",
        action="store_true",
        help="decode every image before it is stored; without, a JPEG must begin and end as one",
    )


def _add_run_and_checkpoint(parser: Parser, several: bool = False) -> None:
    """Add what is read of a run: its folder and one of its checkpoints."""
    if several:
        add_runs(parser, "the folders of runs, finished or not; several are compared")
    else:
        add_run(parser, "the folder of a run, finished or not")
    parser.needed["workdirs" if several else "workdir"] = NEEDED
    parser.add_argument(
        "--checkpoint", choices=("last", "best"), default="last", help="default: last"
    )


def _add_overwrite(parser: Parser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier call wrote there"
    )


def _add_places(parser: Parser) -> None:
    parser.add_argument("--data-dir", metavar="DIR", help="where the data of the run are now")


def _add_cpu_devices(parser: Parser) -> None:
    parser.add_argument(
        "--cpu-devices", type=at_least(1), metavar="N", help="default: those of training"
    )


def _read_seeds(text: str) -> list[int]:
    texts = text.split(",")
    if not all(each.isdigit() for each in texts) or len(set(map(int, texts))) < len(texts):
        raise argparse.ArgumentTypeError(
            f"must be different whole numbers, as in 0,1,2,3; got {text!r}"
        )
    return [int(each) for each in texts]


def _read_analyses(text: str) -> list[str]:
    names = list(dict.fromkeys(map(translate_analysis, text.split(","))))
    if unknown := [name for name in names if name not in ANALYSES]:
        raise argparse.ArgumentTypeError(
            f"must be of {', '.join(ANALYSES)}, with commas between them; got {unknown[0]!r}"
        )
    return names


GRAMMARS = {
    "train": Grammar(
        "main",
        _add_train,
        "  %(prog)s --config digits\n  %(prog)s --config cifar100:lif --config.epochs=10 runs/lif",
        "runs",
    ),
    "evaluate": Grammar(
        "evaluate",
        _add_evaluate,
        "  %(prog)s runs/digits\n  %(prog)s runs/digits --checkpoint best --folder my_images",
    ),
    "export": Grammar("export", _add_export, "  %(prog)s runs/digits --format stablehlo --pixels"),
    "analyze": Grammar(
        "analyze",
        _add_analyze,
        "  %(prog)s runs/digits\n  %(prog)s runs/digits runs/digits_lif --only rates,energy",
    ),
    "report": Grammar(
        "report", _add_report, "  %(prog)s runs/digits runs/digits_lif --out digits.html"
    ),
    "check": Grammar("check", _add_check, "  %(prog)s --config dvs_digits", "runs/check"),
    "prepare": Grammar(
        "data.prepare", _add_prepare, "  %(prog)s imagenet --source downloads --out data/imagenet"
    ),
    "seeds": Grammar(
        "seeds", _add_seeds, "  %(prog)s --config digits --seeds 0,1,2,3", "runs/seeds"
    ),
    "ledger": Grammar("ledger", _add_ledger, "  %(prog)s runs/digits"),
}
