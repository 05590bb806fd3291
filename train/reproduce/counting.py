"""Numbers of the paper's full networks that follow from shapes alone, for cases without a run."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pit_jax.analysis.energy import paper_table3, paper_table10
from pit_jax.analysis.memory import training_memory
from pit_jax.models.count import count_layers

from ..config import cli
from ..config.pages import load_shipped
from ..data import ArraySplit, Dataset
from ..program import build

if TYPE_CHECKING:
    from configs.scales import Case

# The shape of an image and the number of classes, and how many images of a batch a device holds:
# the paper trains ImageNet's batch of 256 on eight GPUs.
IMAGES = {
    "cifar10": ((32, 32, 3), 10, 128),
    "cifar100": ((32, 32, 3), 100, 128),
    "imagenet": ((224, 224, 3), 1000, 32),
}


def count(name: str, case: "Case") -> dict[str, float]:
    """Return the measures of a case of the experiment `name` that is counted and not trained.

    They are in the units of the paper's tables: s_ace_g of Table 3, macs_m of Table 10, and
    memory_gb, the memory of a training step in GB, of Table 5.
    """
    rows = load_shipped("scales.rows").load_rows(name)
    row = next(row for row in rows if row.label == case.row)
    flags = [f"--config.{override}" for override in row.overrides]
    config, _ = cli.parse(["reproduce", "--config", row.config, *flags])
    found: dict[str, float] = {}
    if "memory" in case.measures:
        found["memory_gb"] = count_memory(config) / 1e9
    if "s_ace" in case.measures:
        macs, _, _ = count_step(config)
        # QAT's spikes are its levels; a binary neuron has one.
        levels = config.neuron.get("levels", 1)
        s_ace, _ = paper_table3(macs, 0.0, steps=config.num_steps, levels=levels)
        found["s_ace_g"] = float(s_ace) / 1e9
    if "macs" in case.measures:
        _, first, neurons = count_step(config)
        scaled = config.neuron.name == "PIT"
        found["macs_m"] = paper_table10(first, neurons, 0.0, scaled=scaled)[0] / 1e6
    return found


def count_step(config: ConfigDict) -> tuple[int, int, int]:
    """Return the MACs of one step of a sample, those of the first layer, and the neurons."""
    config = config.copy_and_resolve_references()
    config.num_steps = 1
    dataset, images = _make_blank(config)
    layers = count_layers(build.make_network(config, dataset), (1, *images.shape[1:]))
    products = [layer.macs for layer in layers if layer.kind in ("conv", "linear")]
    return sum(products), products[0], sum(layer.neurons for layer in layers)


def count_memory(config: ConfigDict) -> int:
    """Return the bytes of a training step on one device; see docs/theory/memory.md."""
    dataset, images = _make_blank(config)
    return training_memory(
        build.make_network(config, dataset),
        images,
        jax.ShapeDtypeStruct(images.shape[:1], jnp.int32),
        loss=build.make_loss(config),
        # The length of the schedule does not change the size of the state.
        optimizer_init=build.make_optimizer(config, 1).init,
    ).total


def _make_blank(config: ConfigDict) -> tuple[Dataset, Any]:
    """Return a data set of one black image, and the shape of a batch of one device."""
    shape, classes, batch = IMAGES[config.data.name]
    split = ArraySplit(np.zeros((1, *shape), np.uint8), np.zeros(1, np.int32))
    dataset = Dataset(config.data.name, split, split, classes, (0.5,) * 3, (0.2,) * 3)
    return dataset, jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
