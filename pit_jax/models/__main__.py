"""Count parameters and operations of networks from shapes: python -m pit_jax.models [NAME ...]"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import jax.numpy as jnp

from pit_jax.arguments import Parser, UsageError, at_least, start
from pit_jax.checks.dtypes import FLOATS, normalize_name
from pit_jax.models import MODELS, create
from pit_jax.models.count import LayerCount, Totals, count_layers, count_totals
from pit_jax.models.published_inputs import CIFAR10, INPUTS, Input
from pit_jax.neurons import NEURONS
from pit_jax.signals import run_as_program

EPILOG = """\
Nothing is allocated or computed: the largest network takes seconds on a laptop.

MACs      multiply-accumulates of convolutions and linear layers for one sample over all steps; for
          an image, layers before the repetition over time count once
products  multiply-accumulates between two activations (attention)
neurons   neurons of one sample, whatever the number of steps
bytes     outputs of convolutions, linear layers, norms, neurons and products for the whole batch,
          without membranes, parameters and gradients

k, M and G are powers of 1000, for bytes too; --json prints exact integers.

example: %(prog)s resnet18 --steps 4 --neuron LIF
"""

PARAMETERS = ("network", "parameters", "conv", "bias", "norm", "linear", "neuron")
COSTS = ("network", "input", "layers", "neuron layers", "MACs", "products", "neurons", "bytes")


def main(words: Sequence[str] | None = None, prog: str = "python -m pit_jax.models") -> int:
    """Print the tables and return 0, or print an error and return 2."""
    return start(build_parser(prog), sys.argv[1:] if words is None else words, run)


def run(args: argparse.Namespace) -> int:
    """Print the tables that the arguments ask for."""
    names = args.names or list(MODELS)
    if args.layers and len(names) != 1:
        raise UsageError("--layers needs exactly one network name.")
    counted = {name: _count(name, args) for name in names}
    if args.json:
        json.dump(_describe(counted, args), sys.stdout, indent=1)
        print()
    elif args.layers:
        print(format_layers(counted[names[0]]))
    else:
        steps = "1 step" if args.steps == 1 else f"{args.steps} steps"
        print(f"{args.neuron} neurons, {steps}, a batch of {args.batch}, {args.dtype}\n")
        print(format_totals(counted, {name: _get_input(name, args) for name in names}))
    return 0


def _count(name: str, args: argparse.Namespace) -> Any:
    """Return the layers or the totals of a network; raise UsageError if it cannot be made."""
    try:
        x = _get_input(name, args)
        model = create(
            name,
            num_classes=x.num_classes,
            neuron=NEURONS[args.neuron],
            num_steps=args.steps,
            dtype=jnp.dtype(args.dtype),
            **args.fields,
        )
        return (count_layers if args.layers else count_totals)(
            model, x.batch(args.batch, args.steps)
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"{f'{name}: ' if name in MODELS else ''}{error}") from error


def format_totals(counted: dict[str, Totals], inputs: dict[str, Input]) -> str:
    """Return two tables with a row per network: parameters by kind, and costs."""
    parameters, costs = [], []
    for name, t in counted.items():
        kernel, bias, norm, linear, linear_bias, neuron = t.parameters.values()
        kinds = (sum(t.parameters.values()), kernel, bias + linear_bias, norm, linear, neuron)
        parameters.append((name, *map(format_count, kinds)))
        shape = "x".join(map(str, inputs[name].shape))
        cost = (t.macs, t.products, t.neurons, t.activation_bytes)
        costs.append((name, shape, str(t.layers), str(t.neuron_layers), *map(format_count, cost)))
    return f"{format_table(PARAMETERS, parameters)}\n\n{format_table(COSTS, costs)}"


def format_layers(rows: Iterable[LayerCount]) -> str:
    """Return a table with a row per layer."""
    return format_table(
        ("layer", "kind", "output [B, T, ..., C]", "parameters", "MACs", "neurons", "bytes"),
        [
            (
                row.path,
                row.kind,
                "x".join(map(str, row.shape)),
                *map(format_count, (row.parameters, row.macs, row.neurons, row.bytes)),
            )
            for row in rows
        ],
    )


def format_count(count: int) -> str:
    """Return four digits and a unit, e.g. 11.18M for 11180810; 0 is a dash."""
    if count < 1000:
        return str(count) if count else "-"
    if count >= 10**18:
        return f"{count:.3e}"
    value, units = float(count), iter("kMGTPE")
    unit = ""
    # Compare the rounded value, because 999,951 prints as 1.000M, not as 1000.k.
    while float(f"{value:.4g}") >= 1000:
        value, unit = value / 1000, next(units)
    return f"{value:#.4g}{unit}"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns two blanks apart, the first left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = (head, ["-" * width for width in widths], *rows)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _get_input(name: str, args: argparse.Namespace) -> Input:
    """Return the published input of a network with the options applied."""
    # `create` rejects an unknown name with a better message.
    x = INPUTS.get(name, CIFAR10)
    height, width, channels = x.shape
    shape = (args.size or height, args.size or width, args.channels or channels)
    return x._replace(shape=shape, num_classes=args.classes or x.num_classes)


def _describe(counted: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return for JSON each network with its input, and either its totals or its layers."""
    described = {}
    for name, count in counted.items():
        x = _get_input(name, args)
        values = {"layers": [asdict(row) for row in count]} if args.layers else asdict(count)
        described[name] = {
            "input": x.batch(args.batch, args.steps),
            "num_classes": x.num_classes,
            "num_steps": args.steps,
            "neuron": args.neuron,
            "dtype": args.dtype,
            "fields": args.fields,
        } | values
    return described


def _parse_fields(text: str) -> dict[str, Any]:
    """Parse the fields of a network from JSON."""
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"must be a JSON object, got {text}") from error


def build_parser(prog: str) -> Parser:
    """Return the parser of this program, which is called as `prog`."""
    parser = Parser(
        prog, "Parameters, multiply-accumulates, neurons and activations of networks.", EPILOG
    )
    add = parser.add_argument
    add("names", metavar="NAME", nargs="*", help="networks of pit_jax.models.MODELS; default: all")
    add("--batch", type=at_least(1), default=1, metavar="B", help="samples in a batch; default: 1")
    add("--steps", type=at_least(1), default=1, metavar="T", help="time steps; default: 1")
    add("--size", type=at_least(1), metavar="S", help="height and width; default: as published")
    add("--channels", type=at_least(1), metavar="C", help="input channels; default: as published")
    add("--classes", type=at_least(1), metavar="K", help="classes; default: as published")
    listed = f"{', '.join(NEURONS)}; default: PIT"
    add("--neuron", choices=NEURONS, default="PIT", metavar="NEURON", help=listed)
    add(
        "--dtype",
        type=normalize_name,
        choices=FLOATS[:3],
        default="float32",
        help="of the computation; default: float32",
    )
    add("--fields", type=_parse_fields, default={}, metavar="JSON", help="e.g. '{\"width\": 8}'")
    add("--layers", action="store_true", help="list every layer of one network")
    add("--json", action="store_true", help="print exact integers as JSON")
    return parser


if __name__ == "__main__":
    run_as_program(main)
