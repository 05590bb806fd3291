"""A compiled network: binary spikes between neurons and weights, and the same in integers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from pit_jax.inference.errors import NotEqual
from pit_jax.inference.fold import fold
from pit_jax.inference.graph import Spikes
from pit_jax.inference.grid import on_grid
from pit_jax.inference.integers import Fired, Integer, Sampled, Summed
from pit_jax.inference.listing import table
from pit_jax.inference.outline import outline
from pit_jax.inference.proof import Reference, Report, fingerprint, prove, reference_of
from pit_jax.inference.run import Form, run, weights_of


@dataclass(frozen=True, eq=False, repr=False)
class SpikingProgram:
    """The spike-driven form of a network; `nodes` in the order in which they run at each step.

    Calls take images `[B, H, W, C]`, which enter at every step, or frames `[B, T, H, W, C]`.
    `fingerprint` is that of the nodes when they were compiled, `reference` the trained network.
    """

    nodes: Sequence[Integer]
    num_steps: int
    fingerprint: str
    reference: Reference | None = None

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "B K"]:
        """Logits, the mean over the steps, from binary spikes."""
        return self._logits("slots")(self._weights, self._checked(x))

    def grid(self, x: Float[Array, "..."]) -> Float[Array, "B K"]:
        """Logits from integer counts, with the same weights."""
        return self._logits("counts")(self._weights, self._checked(x))

    def trace(self, x: Float[Array, "..."]) -> dict[str, Int[Array, "B T D ..."]]:
        """The spikes of every neuron layer: 0 and 1 in each of D slots, of ternary ones also -1."""
        return self._spikes("slots")(self._weights, self._checked(x))

    def counts(self, x: Float[Array, "..."]) -> dict[str, Int[Array, "B T ..."]]:
        """The integers of every neuron layer, as `grid` has them."""
        return self._spikes("counts")(self._weights, self._checked(x))

    def clipped(self, x: Float[Array, "..."]) -> int:
        """How many input values lie beyond the largest that the program was compiled for."""
        sampled = self._pixels
        return int(np.sum(abs(np.asarray(x)) > sampled.bound * sampled.unit))

    def verify(self, batches: Any) -> Report:
        """Compares spikes, counts and logits on one batch or several; see `Report`."""
        return prove(self, [batches] if hasattr(batches, "shape") else batches)

    def __str__(self) -> str:
        return table(self.nodes, self.num_steps)

    @property
    def _pixels(self) -> Sampled:
        node = self.nodes[0]
        assert isinstance(node, Sampled)
        return node

    @cached_property
    def _weights(self) -> Any:
        return weights_of(self.nodes)

    @cached_property
    def _compiled(self) -> dict[Any, Any]:
        return {}

    def _logits(self, form: Form) -> Any:
        if ("logits", form) not in self._compiled:

            def logits(weights: Any, x: Array) -> Array:
                steps = run(self.nodes, weights, x, self.num_steps, form, lambda out: out[-1])
                total = sum(steps[1:], steps[0])
                last = self.nodes[-1]
                assert isinstance(last, Summed) and last.unit.size == 1
                return total.astype(jnp.float32) * (last.unit.item() / self.num_steps)

            self._compiled["logits", form] = jax.jit(logits)
        return self._compiled["logits", form]

    def _spikes(self, form: Form) -> Any:
        if ("spikes", form) not in self._compiled:
            fired = {i: node.path for i, node in enumerate(self.nodes) if isinstance(node, Fired)}

            def spikes(weights: Any, x: Array) -> dict[str, Array]:
                def show(outputs: list[Array]) -> dict[str, Array]:
                    return {path: outputs[i] for i, path in fired.items()}

                steps = run(self.nodes, weights, x, self.num_steps, form, show)
                axis = 0 if form == "counts" else 1
                whole = {path: jnp.stack([s[path] for s in steps], axis + 1) for path in steps[0]}
                if form == "counts":
                    return whole
                return {path: jnp.moveaxis(s, 0, 2) for path, s in whole.items()}

            self._compiled["spikes", form] = jax.jit(spikes)
        return self._compiled["spikes", form]

    def _checked(self, x: Any) -> Array:
        x = jnp.asarray(x, jnp.float32)
        sampled = self._pixels
        frames = (self.num_steps, *sampled.shape)
        if x.shape[1:] not in (sampled.shape, frames):
            raise ValueError(
                f"the program takes images [B, {', '.join(map(str, sampled.shape))}] or frames "
                f"[B, {', '.join(map(str, frames))}], got {x.shape}."
            )
        return x


def compile(
    model: nn.Module,
    variables: Mapping[str, Any],
    sample_batch: Any,
    *,
    largest_input: float | None = None,
    weights: str = "float32",
    verify: bool = True,
) -> SpikingProgram:
    """The spiking program of a trained network (Appendix A): batch norm and scales folded into
    integer weights, counts 0..D sent as D binary spikes.

    `sample_batch` holds images `[B, H, W, C]` or frames `[B, T, H, W, C]`, with which the program
    is verified unless `verify` is False. Inputs beyond `largest_input`, twice the sample's largest
    unless given, are cut off there. `weights` is `float32`, for all bits that stay exact in it, or
    `int16` or `int8`. Raises NotFoldable for what no spiking program says exactly, and NotEqual if
    the verification fails.
    """
    sample = np.asarray(sample_batch, np.float32)
    if sample.ndim not in (4, 5) or not sample.size:
        raise ValueError(
            f"sample_batch has images [B, H, W, C] or frames [B, T, H, W, C], got {sample.shape}."
        )
    if not np.isfinite(sample).all():
        raise ValueError("sample_batch holds values that are not finite.")
    folded = fold(outline(model, variables, sample.shape))
    steps = jax.eval_shape(partial(model.apply, variables), sample).shape[1]
    largest = 2 * float(abs(sample).max()) if largest_input is None else largest_input
    nodes = on_grid(folded, steps, largest_input=largest, weights=weights)
    rules = {node.path: node.firing for node in folded.nodes if isinstance(node, Spikes)}
    program = SpikingProgram(
        nodes, steps, fingerprint(nodes), reference_of(model, variables, rules)
    )
    if verify and not (report := program.verify(sample)):
        raise NotEqual(str(report))
    return program
