"""The pictures and tables of docs/theory/inference.md: python -m docs._build.diagrams inference

A picture shows a part of a network twice, as trained and as folded. The costs below it come from
the same network, with variables from make_firing_network() of the tests.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from docs._build.pictures.drawing import draw_zooms
from docs._build.pictures.folded import count_streams, make_part_picture
from docs._build.pictures.graph import Picture, zoom
from pit_jax.inference import compile
from pit_jax.inference.compiler.fold import fold
from pit_jax.inference.compiler.folded import Node
from pit_jax.inference.compiler.trace import outline_layers
from pit_jax.inference.costs import Costs
from pit_jax.models import create
from pit_jax.models.published_inputs import INPUTS
from pit_jax.models.trace import trace
from pit_jax.neurons import PIT, ReLU
from tests.inference.networks import make_firing_network
from tests.models.reduced import REDUCED

DOCS = Path(__file__).parents[2]
LEVELS = 4


class Network(NamedTuple):
    """A network with PIT, as small as in the tests."""

    name: str
    num_steps: int = 1
    kw: tuple[tuple[str, Any], ...] = ()


class TrainedPanel(NamedTuple):
    """A panel of a network in training: the arguments of `graph.zoom`."""

    caption: str
    network: Network
    path: str
    until: str = ""


class CompiledPanel(NamedTuple):
    """A panel of a folded network: the arguments of `folded.make_part_picture`."""

    caption: str
    network: Network
    first: str
    last: str


@dataclass(frozen=True)
class Fold:
    """One picture; `costs` has the path prefixes of the layers whose costs the page shows."""

    name: str
    title: str
    panels: Sequence[TrainedPanel | CompiledPanel]
    costs: tuple[str, ...] = field(default=())


_STEPS = Network("cifarnet", num_steps=2)
_PREACT = Network("resnet18", kw=(("stages", (2, 1)),))
_SEW = Network("sew_resnet18", kw=(("stages", (1, 3)),))
_MS = Network("ms_resnet18", kw=(("stages", (2, 1)),))
_AVERAGE, _MAX = Network("vgg16"), Network("plifnet")
_SDT, _SPIKEFORMER = Network("spike_driven_transformer"), Network("e_spikeformer_s")

FOLDS = (
    Fold(
        "weights",
        "1. Batch norm and scales go into the weights",
        (
            TrainedPanel(
                "Trained: the scales of two steps, then a norm", _STEPS, "PIT_0", "hidden"
            ),
            CompiledPanel(
                "Folded: one set of weights for each step, the bias added once a step",
                _STEPS,
                "PIT_1",
                "PIT_1",
            ),
        ),
        ("conv2", "hidden"),
    ),
    Fold(
        "identity",
        "2. An identity of spikes is one synapse for each channel",
        (
            TrainedPanel(
                "Trained: the norm comes after the sum",
                _PREACT,
                "stage1_block2",
                "stage2_block1/conv1",
            ),
            CompiledPanel(
                "Folded: the norm's gain is in both branches",
                _PREACT,
                "stage1_block2/PIT_1",
                "stage2_block1/PIT_0",
            ),
        ),
        ("stage1_block2",),
    ),
    Fold(
        "streams",
        "3. A sum of spikes stays a sum of streams",
        (
            TrainedPanel(
                "Trained: the third block of a stage reads integers",
                _SEW,
                "stage2_block3",
            ),
            CompiledPanel(
                "Folded: a copy of the first convolution for each stream, whose neurons are apart",
                _SEW,
                "stage2_block3/PIT_0",
                "stage2_block3/PIT_1",
            ),
        ),
        ("stage2_block",),
    ),
    Fold(
        "currents",
        "4. Shortcuts of membranes pass currents",
        (
            TrainedPanel(
                "Trained: the shortcut starts before the neuron",
                _MS,
                "stage1_block2",
                "stage2_block1/conv1",
            ),
            CompiledPanel(
                "Folded: accumulated currents pass, spikes go to weights",
                _MS,
                "stage1_block2/PIT_1",
                "stage2_block1/PIT_0",
            ),
            CompiledPanel(
                "Folded, where a stage begins: a convolution on the shortcut multiplies currents",
                _MS,
                "stage2_block1/PIT_1",
                "PIT_0",
            ),
        ),
        ("stage1_block2", "stage2_block1"),
    ),
    Fold(
        "pools",
        "5. Pools: spikes are added up, or the largest passes",
        (
            TrainedPanel("Trained: an average", _AVERAGE, "PIT_1", "PIT_2"),
            CompiledPanel(
                "Folded: the sum of spikes, its divisor in the weights", _AVERAGE, "PIT_2", "PIT_2"
            ),
            TrainedPanel("Trained: a maximum", _MAX, "PIT_0", "PIT_1"),
            CompiledPanel(
                "Folded: the maximum of each slot, which commutes with a > 0",
                _MAX,
                "PIT_1",
                "PIT_1",
            ),
        ),
        ("conv2", "conv3"),
    ),
    Fold(
        "attention",
        "6. Attention",
        (
            CompiledPanel(
                "Spike-driven Transformer, folded: a product is 1 where both spikes are",
                _SDT,
                "block1/attention/PIT_1",
                "block1/mlp/PIT_0",
            ),
            CompiledPanel(
                "E-SpikeFormer, folded: the contraction over channels keeps its multiplications",
                _SPIKEFORMER,
                "stage2_block1/attention/PIT_1",
                "stage2_block1/mlp/PIT_0",
            ),
        ),
        ("block1/attention", "stage2_block1/attention"),
    ),
)


def get_file(name: str) -> Path:
    return DOCS / "images" / "inference" / f"{name}.svg"


def draw(one: Fold) -> str:
    """Return the SVG of a fold."""
    return draw_zooms(one.title, [(panel.caption, _make_picture(panel)) for panel in one.panels])


def _make_picture(panel: TrainedPanel | CompiledPanel) -> Picture:
    if isinstance(panel, CompiledPanel):
        return make_part_picture(_fold_small(panel.network), panel.first, panel.last)
    name, num_steps, kw = panel.network
    row = REDUCED[name]
    model = create(name, num_classes=5, neuron=PIT, num_steps=num_steps, **{**row.kw, **dict(kw)})
    return zoom(trace(model, (1, *row.shape)).nodes, panel.path, panel.until)


@cache
def _fold_small(network: Network) -> list[Node]:
    name, num_steps, kw = network
    row = REDUCED[name]
    fields = {**row.kw, **dict(kw)}
    return fold_network(name, (1, *row.shape), num_classes=5, num_steps=num_steps, **fields)


def fold_network(name: str, x_shape: tuple[int, ...], **kw: Any) -> list[Node]:
    """Return the folded nodes of an untrained network with random variables."""
    model = create(name, neuron=partial(PIT, levels=LEVELS), **kw)
    x = jax.ShapeDtypeStruct(x_shape, np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    generator = np.random.default_rng(0)

    def draw_values(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.asarray(generator.uniform(0.5, 1.5, leaf.shape), np.float32)

    variables = {
        collection: jax.tree.map(draw_values, shapes[collection])
        for collection in ("params", "batch_stats")
    }
    return fold(outline_layers(model, variables, x_shape))


def format_costs(one: Fold) -> str:
    """Return the costs of the drawn parts of each network, formatted as by `program.costs`."""
    tables = []
    for network in dict.fromkeys(panel.network for panel in one.panels):
        rows = [row for row in _measure_costs(network).rows if row.path.startswith(one.costs)]
        tables.append(str(Costs(rows)))
    return "\n\n".join(tables)


@cache
def _measure_costs(network: Network) -> Costs:
    name, num_steps, kw = network
    # Not the random variables of `fold_network`: costs depend on firing rates.
    model, variables, x = make_firing_network(
        name, partial(PIT, levels=LEVELS), num_steps, **dict(kw)
    )
    return compile(model, variables, x, verify=False).costs(x)


@cache
def count_layer_copies(name: str) -> dict[str, int]:
    """Count the copies of each layer of weights of a network at its published depth."""
    # The streams depend on the structure only, so a narrow network has those of the full one.
    return count_streams(fold_network(name, INPUTS[name].batch(1, 1), num_classes=5, width=2))


def count_copies(name: str) -> tuple[int, int]:
    """Count the weights of a network at its published size, and those of all copies at one step.

    A layer of weights that reads n streams has n copies.
    """
    of_layer = count_layer_copies(name)
    x = INPUTS[name]
    whole = trace(create(name, num_classes=x.num_classes, neuron=ReLU), x.batch(1, 1))
    kernels = {
        "/".join(path[:-1]): int(np.prod(leaf.shape))
        for path, leaf in _list_leaves(whole.params)
        if path[-1] == "kernel"
    }
    return sum(kernels.values()), sum(n * of_layer[path] for path, n in kernels.items())


def _list_leaves(params: Any) -> list[tuple[tuple[str, ...], Any]]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return [(tuple(key.key for key in path), leaf) for path, leaf in leaves]
