"""The memory of a training step of a run (Table 5): its gradient is compiled, but nothing is run.

The counting is in `pit_jax.analysis.memory` and `compiled`, the figure in
`pit_jax.analysis.plots.memory`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from pit_jax.analysis.compiled import CompiledMemory, compile_memory
from pit_jax.analysis.memory import TrainingMemory, training_memory
from pit_jax.analysis.plots import memory as plots
from pit_jax.layers.remat import POLICIES
from pit_jax.tuning import compiler_options

from ..program import build
from ..program.feed import abstract_batch
from ..program.inputs import make_prepare
from ..run.reading import read_starts
from .subject import Analysis, Plot, Subject, Table

MIB = 2**20


class Inputs(NamedTuple):
    """Shapes of the inputs of a network and of their labels, and the loss of its logits."""

    images: Any
    labels: Any
    loss: Any


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
    inputs = _make_inputs(subject, images)
    measured = {
        name: _measure(subject, inputs, **fields)
        for name, fields in _list_variants(subject).items()
    }
    step = measured["as trained"]
    totals = _list_totals(step, _compile(subject, inputs))
    blocks = step.activations_of(1)
    dtype = config.model.get("dtype", "float32")
    remark = (
        f"One device's step of {images} images ({dtype}, T = {config.num_steps}), computed from "
        "shapes and JAX's gradient of the network. A compiler holds less where it recomputes cheap "
        "arrays, and needs additional working memory; the last rows of the totals are of this "
        "machine's compiler. "
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
            "neurons": Table(("neuron layer", "bytes"), list(step.neurons.items())),
            "totals": Table(("kept for the backward pass", "bytes"), totals),
        },
        printed=_format_lines(step, totals),
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


def _make_inputs(subject: Subject, images: int) -> Inputs:
    config = subject.config
    batch = abstract_batch(subject.dataset.train, images)
    key = jax.eval_shape(lambda: jax.random.key(0))
    x, labels = jax.eval_shape(make_prepare(config, subject.dataset), key, batch)
    return Inputs(x, labels, build.make_loss(config))


def _measure(subject: Subject, inputs: Inputs, **fields: Any) -> TrainingMemory:
    config = subject.config
    # The length of the schedule does not change the size of the state.
    optimizer = build.make_optimizer(config, 1)

    def first_state(params: Any) -> Any:
        # Averaged parameters are part of the state as well.
        return optimizer.init(params), params if config.averaging else ()

    return training_memory(
        subject.model.clone(**fields),
        inputs.images,
        inputs.labels,
        loss=inputs.loss,
        optimizer_init=first_state,
        neurons=subject.neurons,
    )


def _compile(subject: Subject, inputs: Inputs) -> CompiledMemory:
    return compile_memory(
        subject.model,
        inputs.images,
        inputs.labels,
        loss=inputs.loss,
        compiler_options=compiler_options("train"),
    )


def _list_totals(step: TrainingMemory, compiled: CompiledMemory) -> list[tuple[str, int | None]]:
    """Return what the backward pass keeps in total, by four counts."""
    return [
        ("gradients of the neuron layers", sum(step.neurons.values())),
        ("gradient of the network, each array once", step.activations),
        ("held by the compiled program at the logits", compiled.held),
        ("temporaries of the compiled program", compiled.temporaries),
    ]


def _format_lines(step: TrainingMemory, totals: Sequence[tuple[str, int | None]]) -> list[str]:
    """Return lines for the terminal: MiB of each neuron layer, and in total."""
    rows = [*step.neurons.items(), *totals]
    width = max(len(name) for name, _ in rows)
    return ["MiB kept for the backward pass, read by the gradient of each neuron layer:"] + [
        f"  {name:{width}} {'unknown' if size is None else f'{size / MIB:,.2f}':>12}"
        for name, size in rows
    ]
