"""Convert a PyTorch checkpoint to a folder of our variables; see --help."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import pit_jax
from pit_jax.arguments import Parser, UsageError, at_least, path, start
from pit_jax.artifact import hash_file
from pit_jax.checks.bounds import MOST_SEED
from pit_jax.display import print_text
from pit_jax.interop.convert import convert, find_layout, fits
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.files import load
from pit_jax.interop.layouts import LAYOUTS
from pit_jax.interop.store import write
from pit_jax.models import MODELS, create
from pit_jax.neurons import ReLU
from pit_jax.signals import run_as_program

EPILOG = """
example: %(prog)s resnet18-f37072fd.pth --model sew_resnet18 --out sew18
then:    variables = pit_jax.interop.read("sew18")
"""


def main(words: Sequence[str], prog: str = "python -m pit_jax.interop") -> int:
    """Import a checkpoint and return 0, or print an error and return 2."""
    return start(build_parser(prog), words, run, mistakes=(UsageError, CheckpointError, OSError))


def build_parser(prog: str) -> Parser:
    """Return the parser of this program, which is called as `prog`."""
    parser = Parser(
        prog, "Write DIR/variables.safetensors and DIR/manifest.json from a PyTorch file.", EPILOG
    )
    parser.add_argument(
        "checkpoint", type=path, metavar="CHECKPOINT", help="a .pth or .safetensors file"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help=", ".join(MODELS))
    parser.add_argument(
        "--out", type=path, required=True, metavar="DIR", help="a folder that does not exist"
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="default: detected from the names")
    parser.add_argument(
        "--entry", metavar="KEY", help="the state_dict to read, if the file has several"
    )
    parser.add_argument(
        "--prefix", metavar="TEXT", help="load only the names that begin with it, without it"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="NAME",
        help="drop a name, or all names of a layer, of the checkpoint; may be repeated",
    )
    parser.add_argument(
        "--num-classes", type=at_least(1), metavar="N", help="default: the checkpoint's"
    )
    parser.add_argument("--num-steps", type=at_least(1), default=1, metavar="T", help="default: 1")
    parser.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a field of the network, as in --field 'pool_after=[1,2,4,6,8]'; may be repeated",
    )
    parser.add_argument(
        "--size",
        type=at_least(1),
        nargs=2,
        default=(224, 224),
        metavar=("H", "W"),
        help="image size",
    )
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        metavar="LAYER",
        help="keep the initial values of a layer, e.g. head; may be repeated",
    )
    seed = at_least(0, MOST_SEED)
    parser.add_argument("--seed", type=seed, default=0, help="seed of these initial values")
    return parser


def run(args: argparse.Namespace) -> int:
    """Import a checkpoint and return 0; raise CheckpointError if that is impossible."""
    if os.path.lexists(args.out):
        raise CheckpointError(f"{args.out} exists already; give a new folder.")
    fields = parse_fields(args)
    before = _identify(args.checkpoint)
    state_dict = load(args.checkpoint, entry=args.entry, prefix=args.prefix, ignore=args.ignore)
    layout = args.layout or find_layout(state_dict)
    channels, classes = _read_sizes(state_dict, layout)
    num_classes = classes if args.num_classes is None else args.num_classes
    neurons = LAYOUTS[layout].neurons
    sizes = {"num_classes": num_classes, "num_steps": args.num_steps}
    sample = jax.ShapeDtypeStruct((1, *args.size, channels), jnp.float32)
    try:
        model = _build(args.model, sample, **sizes, **neurons, **fields)
        variables = convert(
            state_dict, model, sample, layout=layout, skip=args.skip, key=jax.random.key(args.seed)
        )
    except CheckpointError as error:
        fitting = find_models(state_dict, sample, layout, args.skip, **sizes, **fields)
        if not fitting or args.model in fitting:
            raise
        raise CheckpointError(
            f"{error}\nIts names and shapes fit --model {' or '.join(fitting)}."
        ) from error
    source = {"file": args.checkpoint.name, "sha256": hash_file(args.checkpoint)}
    if _identify(args.checkpoint) != before:
        raise CheckpointError(
            f"{args.checkpoint} was changed while it was read. Repeat the command when it is whole."
        )
    write(
        variables,
        args.out,
        model={
            "name": args.model,
            "num_classes": num_classes,
            "num_steps": args.num_steps,
            **{field: _describe_neuron(neuron) for field, neuron in neurons.items()},
            **fields,
        },
        layout=layout,
        skipped={"layers": args.skip, "seed": args.seed} if args.skip else None,
        source=source,
        versions={"pit_jax": pit_jax.__version__, "jax": jax.__version__, "flax": version("flax")},
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    print_text(f"{args.out}: {count:,} parameters of {args.model}, layout {layout!r}.")
    for layer in args.skip:
        print(f"{layer} has its initial values.")
    return 0


def _build(name: str, sample: Any, **fields: Any) -> nn.Module:
    """Return the network `name`; raise CheckpointError if a field has a value that it refuses."""
    try:
        model = create(name, **fields)
        # Some fields are only checked when the network is traced, e.g. against the size of the
        # image.
        jax.eval_shape(model.init, jax.random.key(0), sample)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the network {name!r} cannot be built: {error}") from error
    return model


def find_models(
    state_dict: Mapping[str, np.ndarray],
    sample: jax.ShapeDtypeStruct,
    layout: str,
    skip: Sequence[str] = (),
    **fields: Any,
) -> list[str]:
    """Return the names in `MODELS` of the networks with these `fields` that a checkpoint fits.

    Tracing all of them takes six seconds: call it only for an error.
    """
    # Published neurons have no parameters, and those of ReLU are traced in half the time.
    fields |= dict.fromkeys(LAYOUTS[layout].neurons, ReLU)
    found = []
    for name in MODELS:
        # Networks without a field of the layout or of the command line cannot be made or traced.
        with suppress(TypeError, ValueError):
            if fits(state_dict, create(name, **fields), sample, layout, skip):
                found.append(name)
    return found


def parse_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Parse the options `--field`. Raises CheckpointError unless they are NAME=JSON."""
    fields = {}
    for assignment in args.field:
        name, _, value = assignment.partition("=")
        try:
            fields[name] = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(
                f"--field must be NAME=JSON, e.g. width=64 or head='\"flatten\"', got "
                f"{assignment!r}."
            ) from error
    return fields


def _identify(file: Path) -> tuple[int, ...]:
    """Return numbers of a file that change with its content; none if it is missing."""
    if not file.exists():
        return ()
    about = file.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _read_sizes(state_dict: Mapping[str, np.ndarray], layout: str) -> tuple[int, int]:
    """Return the input channels of the first convolution and the classes of the head."""
    first, *_, head = (f"{layer.theirs}.weight" for layer in LAYOUTS[layout].layers)
    for name, axes in ((first, 4), (head, 2)):
        if name not in state_dict or state_dict[name].ndim != axes:
            raise CheckpointError(
                f"in the layout {layout!r} the checkpoint must have a {name} with {axes} axes; "
                "give another --layout."
            )
    return state_dict[first].shape[1], state_dict[head].shape[0]


def _describe_neuron(neuron: Callable[[], Any]) -> dict[str, Any]:
    """Return the name of a neuron and its fields that differ from the defaults."""
    fields = {
        name: getattr(value, "__name__", value)
        for name, value in getattr(neuron, "keywords", {}).items()
    }
    return {"name": type(neuron()).__name__, **fields}


if __name__ == "__main__":
    run_as_program(main, sys.argv[1:])
