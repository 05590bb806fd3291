"""The options of programs that train several runs: train.seeds and train.reproduce."""

from pit_jax.arguments import Parser, at_least, path

from .cli import MOST_SEEDS, add_run, read_seeds

MOST_WORKERS = 1024
SCALES = ("paper", "medium", "laptop", "smoke")


def add_seeds(parser: Parser) -> None:
    """Train several seeds of one config.

    The seeds train one after the other in one process, which loads data and compiles once. Each
    becomes an ordinary run in RUN/seed_SEED, bit for bit as if trained alone. To resume, repeat the
    command; to add seeds, repeat it with others. Finished seeds are not trained again. The table at
    the end has all finished seeds of the folder.
    """
    add_run(parser, "where each seed gets a folder; default: runs/seeds/ and the config's name")
    parser.add_argument(
        "--seeds",
        required=True,
        type=read_seeds,
        metavar="S,S,...",
        help="such as 0,1,2,3",
    )


def add_reproduce(parser: Parser) -> None:
    """Reproduce tables and figures of the paper.

    The program prints its plan with an estimate of time and memory, trains what is missing, and
    writes NAME.md, NAME.csv, NAME.tex and NAME.png with intervals over seeds and a verdict on each
    claim. To resume, repeat the command. Any number of processes and machines can share DIR.
    """
    add = parser.add_argument
    add(
        "names",
        nargs="+",
        metavar="NAME",
        help="a table or figure, such as table8 or figure3; all: every one",
    )
    add(
        "--scale",
        choices=SCALES,
        default="laptop",
        help="paper: networks and data of the paper; medium: full networks on Fashion-MNIST and "
        "digits, hours on a GPU; laptop: small networks, minutes on two cores; smoke: tiny "
        "networks, to try the program; default: laptop",
    )
    add("--data", type=path, metavar="DIR", help="the folder of the data; default: data")
    add(
        "--seeds",
        type=at_least(1, MOST_SEEDS),
        metavar="N",
        help="train the seeds 0 to N-1 of every row; default: as many as the scale has",
    )
    add(
        "--rows",
        nargs="+",
        default=(),
        metavar="LABEL",
        help="train only these rows; the page shows all, with their earlier runs",
    )
    add(
        "--out",
        type=path,
        metavar="DIR",
        help="the folder of the results; default: runs/reproduce/ and the scale",
    )
    add(
        "--workers",
        type=at_least(1, MOST_WORKERS),
        metavar="N",
        help="runs that train at the same time; default: one for each GPU, or for each core that "
        "has the memory",
    )
