"""The memory of a training step of a run (Table 5), from shapes: nothing is run.

The counting is in `pit_jax.analysis.memory`, the figure in `pit_jax.analysis.plots.memory`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pit_jax.analysis.memory import TrainingMemory, training_memory
from pit_jax.analysis.plots import memory as plots
from pit_jax.layers.remat import POLICIES

from ..program import build
from ..program.feed import abstract_batch
from ..program.inputs import make_prepare
from ..run.reading import read_starts
from .subject import Analysis, Plot, Subject, Table

MIB = 2**20


def analyze(subject: Subject) -> Analysis:
    """Return the memory of one device's step, as trained and for variants of the network.

    Variants save fewer activations or use shorter floats, where the network has a field for it.
    """
    config = subject.config
    # A batch is divided into accumulated parts and among devices; one part is in memory at a time.
    images = (
        config.batch_size
        // config.accumulate
        // count_devices(subject.workdir, subject.config.cpu_devices)
    )
    measured = {
        name: _measure(subject, images, **fields)
        for name, fields in _list_variants(subject).items()
    }
    step = measured["as trained"]
    blocks = step.activations_of(1)
    dtype = config.model.get("dtype", "float32")
    remark = (
        f"One device's step of {images} images ({dtype}, T = {config.num_steps}), computed from "
        "shapes and JAX's gradient of the network. A compiler saves less where it recomputes cheap "
        "arrays, and needs additional working memory. "
        f"{step.activations / step.total:.0%} of {step.total / MIB:,.1f} MiB are activations, "
        "which grow in proportion to the number of images."
    )
    rows = [
        (name, part, size) for name, each in measured.items() for part, size in each.parts.items()
    ]
    title = f"{subject.name}, {images} images, T = {config.num_steps}"
    return Analysis(
        title="Memory of a training step",
        remarks=[remark],
        tables={
            "parts": Table(("step", "part", "bytes"), rows),
            "layers": Table(("layer", "bytes"), list(step.activations_of().items())),
        },
        figures={
            "parts": Plot(
                partial(plots.parts, {name: each.parts for name, each in measured.items()}, title),
                remark,
            ),
            "blocks": Plot(
                partial(plots.plot_by_layer, blocks, title),
                f"Activations by block of the network, in the order in which they run. {remark}",
            ),
        },
    )


def count_devices(workdir: Path, default: int) -> int:
    """Return the number of devices that trained the run, not of those that analyze it."""
    found: int = (read_starts(workdir) or [{}])[-1].get("devices", default)
    return found


def _list_variants(subject: Subject) -> dict[str, dict[str, Any]]:
    """Return changes of the network's fields by the name of the variant, if it has the fields."""
    changes: dict[str, dict[str, Any]] = {
        "remat convolutions": {"remat": "convolutions"},
        "remat blocks": {"remat": "blocks"},
        "bfloat16": {"dtype": jnp.dtype(jnp.bfloat16)},
    }
    had = {name: getattr(subject.model, name, None) for name in ("remat", "dtype")}
    # In a user's own network these fields may have another meaning.
    known = {"remat": had["remat"] in POLICIES, "dtype": _is_dtype(subject.model)}
    return {"as trained": {}} | {
        name: fields
        for name, fields in changes.items()
        if all(known[field] and had[field] != value for field, value in fields.items())
    }


def _is_dtype(model: nn.Module) -> bool:
    """Return whether a network has a `dtype` as Flax's modules do, a type or None."""
    try:
        return hasattr(model, "dtype") and bool(jnp.dtype(model.dtype or float))
    except TypeError:
        return False


def _measure(subject: Subject, images: int, **fields: Any) -> TrainingMemory:
    config, split = subject.config, subject.dataset.train
    # The length of the schedule does not change the size of the state.
    optimizer = build.make_optimizer(config, 1)

    def first_state(params: Any) -> Any:
        # Averaged parameters are part of the state as well.
        return optimizer.init(params), params if config.averaging else ()

    batch = abstract_batch(split, images)
    key = jax.eval_shape(lambda: jax.random.key(0))
    x, labels = jax.eval_shape(make_prepare(config, subject.dataset), key, batch)
    return training_memory(
        subject.model.clone(**fields),
        x,
        labels,
        loss=build.make_loss(config),
        optimizer_init=first_state,
    )
