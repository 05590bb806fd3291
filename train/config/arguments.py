"""The options of every program: what `--help` prints, and how a command line is read.

Nothing here imports JAX, so that `pit-jax PROGRAM --help` answers at once.
"""

import argparse
from collections.abc import Callable, Sequence
from inspect import getdoc
from pathlib import Path
from typing import NamedTuple

from pit_jax.arguments import Parser, UsageError, at_least, path, start
from pit_jax.old_names import translate_analysis

from ..errors import UserError
from .cli import (
    NEEDED,
    add_checkpoint,
    add_config,
    add_cpu_devices,
    add_demo,
    add_overwrite,
    add_places,
    add_run,
    add_run_and_checkpoint,
    add_runs,
    describe_config,
    parse_config,
    read_folder,
)
from .several import add_reproduce, add_seeds

FORMATS = {
    "directory": "pit_jax.inference.load",
    "stablehlo": "JAX without pit_jax",
    "onnx": "onnxruntime and others",
    "nir": "simulators that read NIR",
}
ANALYSES = {
    "learning": "loss and accuracy over the epochs, and when each reaches the end of another",
    "rates": "firing rates, counts, silent and saturated channels, synchrony",
    "levels": "how often each level is used, and how well the levels fit the membranes",
    "scales": "the learned scales of PIT at the start and now",
    "membranes": "the density of the membranes over the time steps",
    "quantization": "binary, min-max and 3-sigma ranges on the membranes",
    "information": "how much information a spike keeps about its membrane",
    "capacity": "how many spike trains and values a layer can send",
    "energy": "operations, memory traffic and energy, next to the same network with activations",
    "memory": "the memory of a training step",
    "landscape": "the loss around the weights",
    "oscillation": "how often a count changes between training steps, and over time",
}
"""The analyses in the order of their page, each a file of train/analyze/, and what they show."""
CONFIG_IS_FIXED = "the config of a run is fixed; this program reads it from the folder."


class Grammar(NamedTuple):
    """The command line of a program.

    `add` adds the options, and its docstring is the description in `--help`. `under` is the folder
    of the outputs; programs without `--config` have none.
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
    """Parse the arguments `words` of `program`, call `run` and return its exit code.

    A mistake of the user is printed as one line, and the exit code is 2. With `--config`, `--help`
    also shows the keys of that config.
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
    """Return the parser of a program; its usage line begins with `prog`."""
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

    To resume a run, repeat the command. Several processes can train one run together.
    """
    add_run(parser, "where everything is written; default: runs/ and the name of the config")
    group = parser.add_argument_group(
        "several processes",
        "On bare machines only: srun, mpirun and TPU slices let the processes find each other.",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of the first process")
    group.add_argument("--processes", type=int, metavar="N", help="number of processes")
    group.add_argument("--process", type=int, metavar="I", help="index of this process, from 0")


def _add_check(parser: Parser) -> None:
    """Check the data before a long training.

    The program loads the data set as training does (and so downloads or prepares it), compares
    archives and numbers of samples with the published ones, looks for samples in both splits,
    draws a contact sheet of raw and augmented samples, and compares the speed of loading with the
    speed of training. The last line of a data set without problems is "ready"; otherwise the
    problems are listed, and the exit code is 2.
    """
    parser.add_argument(
        "--out",
        type=path,
        metavar="DIR",
        help="the folder of the contact sheet; default: runs/check/ and the config's name",
    )


def _add_evaluate(parser: Parser) -> None:
    """Measure a trained network.

    The program reports loss, top-1 and top-5 accuracy, the accuracy of each class, the confusion
    matrix, calibration, and the firing rate of every neuron layer at each step.
    """
    add_run_and_checkpoint(parser)
    add = parser.add_argument
    add(
        "--split",
        choices=("test", "train", "validation"),
        help="the split of the run's data, without augmentation; default: test",
    )
    add("--folder", type=path, metavar="DIR", help="your own images instead: DIR/CLASS/*.png")
    add(
        "--out",
        type=path,
        metavar="FILE.json",
        help="default: in RUN/evaluation, named after checkpoint and split or folder; a picture is "
        "written next to it",
    )
    add_overwrite(parser)
    add_places(parser)
    add("--batch-size", type=at_least(1), metavar="N", help="default: as in training")
    add_cpu_devices(parser)


def _add_predict(parser: Parser) -> None:
    """Classify your own images or event recordings.

    The program reads the files as training reads its data, and writes a row for each: its name,
    the class, and the probability of this class. A picture shows the first samples with their
    classes. To measure the accuracy on images in a folder for each class, use evaluate --folder.
    """
    add = parser.add_argument
    add("workdir", type=read_folder, metavar="RUN", help="the folder of a run, finished or not")
    add("files", nargs="+", type=path, metavar="FILE", help="images or recordings, or folders")
    parser.hints |= dict.fromkeys(("--workdir", "--folder"), "give RUN FILE... without an option.")
    add_checkpoint(parser)
    add(
        "--out",
        type=path,
        default=Path("predictions.csv"),
        metavar="FILE",
        help="a .csv or .json file; a .png is written next to it; default: predictions.csv",
    )
    add_overwrite(parser)
    add_places(parser)
    add("--batch-size", type=at_least(1), metavar="N", help="default: as in training")


def _add_export(parser: Parser) -> None:
    """Compile a trained network to binary spikes, verify it and write it for other programs.

    The compiled network is compared with its integer form, to the bit, and with the trained
    network on all test samples; nothing is written unless spikes and logits are equal. proof.json,
    next to the program, records the result, the inputs and the names of the classes.
    """
    add_run_and_checkpoint(parser)
    add = parser.add_argument
    add(
        "--format",
        choices=FORMATS,
        required=True,
        help="; ".join(f"{name}: for {readers}" for name, readers in FORMATS.items()),
    )
    add("--out", type=path, metavar="DIR", help="default: RUN/export/CHECKPOINT_FORMAT")
    add_overwrite(parser)
    add(
        "--weights",
        choices=("float32", "int16", "int8"),
        default="float32",
        help="float32 holds as many bits as it represents exactly; default: float32",
    )
    add(
        "--code",
        choices=("thermometer", "bitwise"),
        default="thermometer",
        help="the slots of a count: thermometer has one for each level; default: thermometer",
    )
    add(
        "--input",
        choices=("pixels", "normalized"),
        help="the input of stablehlo and onnx: pixels for raw uint8, which the file normalizes, or "
        "normalized for floats as the network takes them; default: pixels if the data are uint8",
    )
    # The name of `--input pixels` while floats were the default.
    add("--pixels", dest="input", action="store_const", const="pixels", help=argparse.SUPPRESS)
    add_places(parser)
    add(
        "--batch-size",
        type=at_least(1),
        metavar="N",
        help="batch size of the verification; default: as in training",
    )


def _add_analyze(parser: Parser) -> None:
    """Analyze trained networks.

    Each analysis gets a folder with its figures as PNG and SVG and its tables as CSV;
    index.html shows all of them. They are written one by one; to continue after a stop, repeat the
    command.
    """
    add_run_and_checkpoint(parser, several=True)
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
        type=path,
        metavar="DIR",
        help="default: RUN/analysis/CHECKPOINT; for several runs ./analysis",
    )
    add_overwrite(parser)
    # A confidence interval over samples needs at least two of them.
    add(
        "--samples",
        type=at_least(2),
        metavar="N",
        help="samples of every analysis; by default each has its own number, stated on its page",
    )
    add_places(parser)
    add_cpu_devices(parser)
    listed = "\n".join(f"  {name:<16}{what}" for name, what in ANALYSES.items())
    parser.epilog = f"{parser.epilog}\n\nanalyses:\n{listed}"


def _add_report(parser: Parser) -> None:
    """Write one HTML page about some runs.

    The page shows curves, firing rates, the scales of PIT, the health of all layers, speed, config
    and environment of every run, and compares them. It needs no other file and no network.
    """
    add_runs(parser, "the folders of runs, finished or not; nothing in them is changed")
    parser.needed["workdirs"] = NEEDED
    parser.add_argument(
        "--out",
        type=path,
        default=Path("report.html"),
        metavar="FILE.html",
        help="an existing file is replaced only if it is such a page; default: report.html",
    )


def _add_ledger(parser: Parser) -> None:
    """Add finished runs to docs/results.md of a clone.

    Each becomes docs/runs/NAME.json (config, environment, summary, every epoch). The table is
    rebuilt from all of these files, with one row for runs that differ only in their seed.
    """
    add_runs(parser, "the folders of finished runs; without any the table is only rebuilt")


def _add_prepare(parser: Parser) -> None:
    """Convert a data set once.

    After a stop, repeat the command to convert what is missing. On a finished folder it checks the
    hash of every file.
    """
    add = parser.add_argument
    add("name", metavar="NAME", help="the data set: imagenet")
    add(
        "--source",
        required=True,
        type=path,
        metavar="DIR",
        help="the folder of the downloaded files",
    )
    add("--out", required=True, type=path, metavar="DIR", help="a new folder, or an unfinished one")
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
        help="shrink images so that the shorter side has N pixels; default 0: keep their size",
    )
    add(
        "--verify",
        action="store_true",
        help="decode every image before it is stored; default: check only the ends of a JPEG",
    )


def _read_analyses(text: str) -> list[str]:
    names = list(dict.fromkeys(map(translate_analysis, text.split(","))))
    if unknown := [name for name in names if name not in ANALYSES]:
        raise argparse.ArgumentTypeError(
            f"must be of {', '.join(ANALYSES)}, separated by commas; got {unknown[0]!r}"
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
    "predict": Grammar(
        "predict", _add_predict, "  %(prog)s runs/digits photo.png scans/ --out scans.csv"
    ),
    "export": Grammar("export", _add_export, "  %(prog)s runs/digits --format stablehlo"),
    "demo": Grammar("demo", add_demo, "  %(prog)s digits\n  %(prog)s runs/digits --out page.html"),
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
        "seeds", add_seeds, "  %(prog)s --config digits --seeds 0,1,2,3", "runs/seeds"
    ),
    "reproduce": Grammar(
        "reproduce",
        add_reproduce,
        "  %(prog)s table7\n  %(prog)s table2 table8 --scale paper --data ~/data --out results",
    ),
    "ledger": Grammar("ledger", _add_ledger, "  %(prog)s runs/digits"),
}
