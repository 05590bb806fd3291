"""A compiled network, run with binary spikes between neurons and weights or with integer counts."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Shaped

from pit_jax.checks.arrays import read_array
from pit_jax.display import html_lines
from pit_jax.inference import storage
from pit_jax.inference.compiler import folded
from pit_jax.inference.compiler.fold import fold
from pit_jax.inference.compiler.quantize import quantize
from pit_jax.inference.compiler.trace import Apply, outline_layers
from pit_jax.inference.costs import Costs, costs
from pit_jax.inference.errors import NotEqual, NotFoldable
from pit_jax.inference.listing import format_table
from pit_jax.inference.runtime import nodes
from pit_jax.inference.runtime.batches import jit_for_batches
from pit_jax.inference.runtime.pixels import (
    InputReader,
    Normalization,
    read_normalization,
    read_pixels,
)
from pit_jax.inference.runtime.step import Form, check_input, collect_weights, run
from pit_jax.inference.runtime.stream import Stream, make_jax_advance
from pit_jax.inference.verify import Reference, Report, fingerprint, make_reference, prove
from pit_jax.old_names import accept_old_methods

if TYPE_CHECKING:  # It needs numba, which is optional.
    from pit_jax.inference.event_driven import Crossover, EventDriven

Nodes = Sequence[nodes.Node]

# In levels. Rounding to the grid moves membranes by far less: if a count differs although its
# membrane was farther than this from a boundary, the grid is too coarse or a fold is wrong.
FAR = 0.05


@accept_old_methods
@dataclass(frozen=True, eq=False, repr=False)
class SpikingProgram:
    """The spike-driven form of a network; `nodes` run in this order at each step.

    Calls take images `[B, H, W, C]`, which enter at every step, or frames `[B, T, H, W, C]`: floats
    as the trained network takes them, or uint8 pixels, to which `normalization` is applied.
    Other integers are refused, and a call that clips more than 1 % of its values warns.
    `fingerprint` is the hash of the nodes as they were compiled, `reference` the trained network,
    and `proof` the report of the verification at compile time.
    """

    nodes: Nodes
    num_steps: int
    fingerprint: str
    reference: Reference | None = None
    proof: Report | None = None
    normalization: Normalization | None = None

    def __call__(self, x: Shaped[ArrayLike, "..."]) -> Float[Array, "B K"]:
        """Return logits, the mean over the steps, from binary spikes."""
        return self._get_logits("slots")(self._weights, self._read(x))

    def grid(self, x: Shaped[ArrayLike, "..."]) -> Float[Array, "B K"]:
        """Return logits from integer counts, with the same weights."""
        return self._get_logits("counts")(self._weights, self._read(x))

    def trace(self, x: Shaped[ArrayLike, "..."]) -> dict[str, Int[Array, "B T D ..."]]:
        """Return the spikes of every neuron layer: 0 and 1 in each of D slots, or -1 (ternary)."""
        spikes: dict[str, Array] = self._get_watch("slots")(self._weights, self._read(x))[1]
        return spikes

    def counts(self, x: Shaped[ArrayLike, "..."]) -> dict[str, Int[Array, "B T ..."]]:
        """Return the integer counts of every neuron layer, as `grid` computes them."""
        spikes: dict[str, Array] = self._get_watch("counts")(self._weights, self._read(x))[1]
        return spikes

    def watch(self, x: Shaped[ArrayLike, "..."], form: Form) -> tuple[Array, dict[str, Array]]:
        """Return logits and spikes together, without warnings; `form` is `slots` or `counts`."""
        logits, spikes = self._get_watch(form)(self._weights, self._read(x, warn=False))
        return logits, spikes

    def costs(self, x: Shaped[ArrayLike, "..."]) -> Costs:
        """Return the additions, multiplications and weights of every layer.

        Additions are the mean over samples, of which there must be at least one.
        """
        return costs(self.nodes, self.num_steps, jnp.asarray(self.normalize(x)))

    def normalize(self, x: Shaped[ArrayLike, "..."]) -> Any:
        """Return uint8 pixels as the floats that the trained network takes; floats unchanged."""
        return self._reader.normalize(self._read(x, warn=False))

    def count_clipped(self, x: Shaped[ArrayLike, "..."]) -> int:
        """Count the inputs that are clipped because they are beyond `largest_input`, and NaNs."""
        return self._reader.count_clipped(self._reader.read(x))

    def verify(self, batches: Any, labels: Any = None) -> Report:
        """Compare spikes, counts and logits on one batch or several; see `Report`.

        `labels` are `[B]` for one batch, or one such array per batch. With them the report has the
        accuracies of the program and of the trained network.
        """
        if hasattr(batches, "shape"):
            batches, labels = [batches], None if labels is None else [labels]
        return prove(self, map(self.normalize, batches), labels)

    def event_driven(
        self, crossover: "Crossover | None" = None, threads: int | None = None
    ) -> "EventDriven":
        """Return a CPU runtime in compiled loops, whose time depends on the spikes; needs numba.

        A layer adds all of its inputs instead if a larger share of them fires than its `crossover`,
        by default a measured one. A batch is divided among `threads`, by default one for each core
        of this process.
        """
        from pit_jax.inference.event_driven import EventDriven, look_up_crossover

        return EventDriven(
            self.nodes,
            self.num_steps,
            crossover or look_up_crossover,
            threads,
            self.normalization,
        )

    def stream(self) -> Stream:
        """Return a runtime that takes one frame at a time and returns logits after each."""
        last = self.nodes[-1]
        assert isinstance(last, nodes.Accumulator)
        advance = make_jax_advance(self.nodes, self._weights)
        return Stream(self.num_steps, self._reader, last.unit.item(), advance)

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        proof: Report | None = None,
        about: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write the program to a folder that `load` reads.

        The folder also stores `proof`, by default the one made at compile time, and `about`, any
        JSON. Raises ArtifactError if the folder exists, unless `overwrite` is true and an earlier
        call wrote it, and if program and grid are not equal.
        """
        proof = self.proof if proof is None else proof
        storage.write_program(self, folder, proof, about, overwrite)

    def __str__(self) -> str:
        return format_table(self.nodes, self.num_steps)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_lines(self)

    @property
    def slots(self) -> dict[str, tuple[int, ...]]:
        """The worth of a spike in each slot, in levels, for every neuron layer."""
        return {
            node.path: node.neuron.slots for node in self.nodes if isinstance(node, nodes.Spikes)
        }

    @cached_property
    def _weights(self) -> Any:
        # Cached: made within a trace of the caller, they would be tracers that outlive it.
        with jax.ensure_compile_time_eval():
            return collect_weights(self.nodes)

    @cached_property
    def _reader(self) -> InputReader:
        node = self.nodes[0]
        assert isinstance(node, nodes.Pixels)
        return InputReader(node, self.normalization)

    @cached_property
    def _functions(self) -> dict[Any, Any]:
        """The jitted functions so far, by their result and the form of spikes."""
        return {}

    def _get_logits(self, form: Form) -> Any:
        if ("logits", form) not in self._functions:

            def logits(weights: Any, x: Array) -> Array:
                x = self._reader.normalize(x)
                return self._average(
                    run(self.nodes, weights, x, self.num_steps, form, lambda outputs: outputs[-1])
                )

            self._functions["logits", form] = jit_for_batches(logits)
        return self._functions["logits", form]

    def _get_watch(self, form: Form) -> Any:
        if ("watch", form) not in self._functions:
            self._functions["watch", form] = self._make_watch(form)
        return self._functions["watch", form]

    def _make_watch(self, form: Form) -> Any:
        layers = {
            i: node.path for i, node in enumerate(self.nodes) if isinstance(node, nodes.Spikes)
        }

        def select_outputs(outputs: list[Array]) -> tuple[Array, list[Array]]:
            return outputs[-1], [outputs[i] for i in layers]

        @jit_for_batches
        def watch(weights: Any, x: Array) -> tuple[Array, list[Array]]:
            x = self._reader.normalize(x)
            steps = run(self.nodes, weights, x, self.num_steps, form, select_outputs)
            logits, spikes = zip(*steps, strict=True)
            time = 1 if form == "counts" else 2
            whole = [jnp.stack(layer, time) for layer in zip(*spikes, strict=True)]
            if form == "slots":
                whole = [jnp.moveaxis(layer, 0, 2) for layer in whole]
            return self._average(logits), whole

        def watch_by_name(weights: Any, x: Array) -> tuple[Array, dict[str, Array]]:
            # jit returns a dictionary sorted by its keys; this one keeps the order of the layers.
            logits, spikes = watch(weights, x)
            return logits, dict(zip(layers.values(), spikes, strict=True))

        return watch_by_name

    def _average(self, logits: Sequence[Array]) -> Array:
        """Return logits `[B, K]` float32, the mean of the integer sums `[B, K]` of all steps."""
        last = self.nodes[-1]
        assert isinstance(last, nodes.Accumulator) and last.unit.size == 1
        total = sum(logits[1:], logits[0])
        return total.astype(jnp.float32) * (last.unit.item() / self.num_steps)

    def _read(self, x: Any, warn: bool = True) -> Array:
        """Return uint8 pixels or float32 values of a known shape; see `InputReader`."""
        x = self._reader.read(x)
        check_input(x.shape, self._reader.pixels.shape, self.num_steps)
        if warn:
            # The warning points at the line that called the public method.
            self._reader.warn_if_clipped(x, stacklevel=3)
        return jnp.asarray(x)


def compile(
    model: nn.Module | Apply,
    variables: Any,
    sample_batch: Any,
    *,
    mean: Any = None,
    std: Any = None,
    largest_input: float | None = None,
    weights: str = "float32",
    code: str = "thermometer",
    verify: bool = True,
) -> SpikingProgram:
    """Compile a trained network into a spiking program (Appendix A).

    Batch norm and scales are folded into integer weights; counts 0..D are sent as binary spikes.

    Args:
        model: the network, a module that is called in evaluation mode, or any function
            `apply(variables, x)`; returns logits `[B, T, K]`, or their mean over time `[B, K]`.
        variables: its trained variables.
        sample_batch: images `[B, H, W, C]` or frames `[B, T, H, W, C]` to verify the program with,
            or features `[B, F]` or `[B, T, F]`: floats that the network takes, or, with `mean` and
            `std`, uint8 pixels.
        mean: with `std`, a number for each channel: the program takes uint8 pixels too, as
            `(x / 255 - mean) / std`. () for both if uint8 counts enter the network unchanged.
        std: see `mean`.
        largest_input: inputs beyond it are clipped; by default the largest normalized pixel, or
            without `mean` twice the largest value of the sample.
        weights: `float32` for as many bits as it represents exactly, or `int16` or `int8`.
        code: `thermometer` sends a count in D slots, one for each level, `bitwise` in ⌈log₂(D+1)⌉
            slots, each worth twice the next.
        verify: compare the program with its grid on the sample.

    Raises NotFoldable for parts that no spiking program computes exactly, and NotEqual if the
    verification fails.
    """
    sample, normalization = _read_sample(sample_batch, mean, std)
    _check_inputs(sample, variables)
    outline_for = cache(partial(outline_layers, model, variables))
    outline = outline_for(sample.shape)
    folded_nodes, steps = fold(outline), outline.num_steps
    largest = _find_largest(sample, normalization) if largest_input is None else largest_input
    graph = quantize(folded_nodes, steps, largest_input=largest, weights=weights, code=code)
    rules = {node.path: node.firing for node in folded_nodes if isinstance(node, folded.Spikes)}
    if not rules:
        raise NotFoldable("the network has no neurons, and so no spikes.", "Add a neuron layer.")
    reference = make_reference(outline_for, rules)
    program = SpikingProgram(
        graph, steps, fingerprint(graph), reference, normalization=normalization
    )
    if verify:
        if not (report := program.verify(sample)):
            raise NotEqual(str(report))
        if weights == "float32" and not report.clipped:
            _warn_if_far(report)
        # The program is frozen, but a copy would lose the functions compiled for `verify`.
        object.__setattr__(program, "proof", report)
    return program


def _read_sample(sample: Any, mean: Any, std: Any) -> tuple[np.ndarray, Normalization | None]:
    """Return the sample as float32 that the network takes, and the normalization of pixels."""
    sample = read_array("sample_batch", sample)
    normalization = read_normalization(mean, std, sample.shape[-1] if sample.ndim else 1)
    sample = read_pixels("sample_batch", sample, normalization)
    if normalization is not None and sample.dtype == np.uint8:
        sample = normalization.normalize(sample)
    return np.asarray(sample), normalization


def _find_largest(sample: np.ndarray, normalization: Normalization | None) -> float:
    """Return the largest input by default; raise ValueError if it is unknown."""
    if normalization is not None and normalization.mean:
        return float(abs(normalization.compute_values(sample.shape[-1])).max())
    if not sample.any():
        raise ValueError(
            "sample_batch is 0 everywhere, so the largest input is unknown; give samples as the "
            "network sees them, or largest_input."
        )
    return 2 * float(abs(sample).max())


def _check_inputs(sample: np.ndarray, variables: Any) -> None:
    """Raise ValueError unless sample and variables are finite and the sample has a known shape."""
    if sample.ndim not in (2, 3, 4, 5) or not sample.size:
        raise ValueError(
            "sample_batch must be images [B, H, W, C] or frames [B, T, H, W, C], or features "
            f"[B, F] or [B, T, F], of at least one sample; got {sample.shape}."
        )
    if not np.isfinite(sample).all():
        raise ValueError("sample_batch holds values that are not finite.")
    for path, leaf in jax.tree.leaves_with_path(variables):
        if not jnp.issubdtype(getattr(leaf, "dtype", object), jnp.inexact):
            continue  # A function's variables may have others, such as random keys.
        name, values = jax.tree_util.keystr(path, simple=True, separator="/"), np.asarray(leaf)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite; compile finite weights.")
        if name.startswith("batch_stats/") and name.endswith("/var") and np.any(values < 0):
            raise ValueError(f"{name} holds a variance of {values.min():g}; it must be at least 0.")


def _warn_if_far(report: Report) -> None:
    """Warn if counts differ from the trained network's far from any boundary."""
    # Only the first layer that differs: its counts change the membranes of all later layers.
    first = report.first_flip
    if first is not None and first.distance is not None and first.distance > FAR:
        warnings.warn(
            f"{first.path} fires counts unlike the trained network's, up to {first.distance:.2g} "
            "levels from their boundary; in most networks the grid rounds by far less. Check "
            "report.top1_agreement before you rely on this program.",
            stacklevel=3,
        )


def load(folder: str | os.PathLike[str]) -> SpikingProgram:
    """Load the program that `SpikingProgram.save` wrote to `folder`, without the trained network.

    Raises ArtifactError if a file is missing, truncated or changed, or from a newer pit_jax.
    """
    return SpikingProgram(**storage.read_program(folder))
