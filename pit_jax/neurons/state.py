"""The state that a neuron passes from one call to the next, so that a stream can come in chunks.

`neuron.apply(variables, x, initial_state, return_state=True)` returns `(spikes, state)`. Without
these two arguments a call starts at rest and returns spikes only; states add nothing to its
program. Parameters with one row per step are read from the step that the state has reached.
"""

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from pit_jax.display import show_value
from pit_jax.neurons.over_time import Fire, over_time, over_time_from
from pit_jax.neurons.scan import run_from, run_over_time, widen

FIELDS = ("membrane", "potential", "steps")


class MembraneState(struct.PyTreeNode):
    """The state of a layer of neurons after a step: a pytree to pass back, jit, scan or save.

    All its arrays are 0 at rest, so `jax.tree.map(jnp.zeros_like, state)` starts a new stream, and
    `jax.lax.stop_gradient(state)` truncates backpropagation. Arrays that a neuron does not need are
    None.

    Args:
        neuron: the class of the neuron; neurons of other classes refuse the state.
        membrane: what the neuron keeps of its membrane, `[B, ..., C]`, float32 or wider.
        potential: the second potential m of CLIF, `[B, ..., C]`.
        steps: the number of steps since rest, an int32 scalar, in PIT, PITFull and GLIF.
    """

    neuron: str = struct.field(pytree_node=False)
    membrane: Any = None
    potential: Any = None
    steps: Any = None


# A neuron returns its spikes, with `return_state` also its state.
Outputs = Float[Array, "*BTNC"] | tuple[Float[Array, "*BTNC"], MembraneState]


def begin(
    neuron: nn.Module, current: Array, initial_state: Any, return_state: bool, *fields: str
) -> MembraneState | None:
    """Return the state in which a call starts, or None if the caller neither passes nor wants one.

    `fields` are the arrays that the state of this neuron has. Raises ValueError for a state of
    another neuron, shape or dtype.
    """
    if initial_state is None and not return_state:
        return None
    # A NumPy number stays known under `jit`, so that steps beyond the last row can be refused.
    rest = MembraneState(type(neuron).__name__, steps=np.int32(0) if "steps" in fields else None)
    if "membrane" in fields:
        zeros = jnp.zeros_like(current[:, 0], widen(current.dtype))
        rest = rest.replace(membrane=zeros, potential=zeros if "potential" in fields else None)
    if initial_state is None:
        return rest
    _check_state(initial_state, rest)
    return initial_state


def _check_state(state: Any, rest: MembraneState) -> None:
    """Raise ValueError unless `state` has the neuron, shapes and dtypes of `rest`."""
    if not isinstance(state, MembraneState):
        raise ValueError(
            "initial_state must be None or a state that this neuron returned with "
            f"return_state=True, got {show_value(state)}."
        )
    if state.neuron != rest.neuron:
        raise ValueError(
            f"initial_state is a state of the neuron {state.neuron}, but this neuron is "
            f"{rest.neuron}; pass a state that this neuron returned, or None to start at rest."
        )
    for field in FIELDS:
        found, want = (_describe(getattr(each, field)) for each in (state, rest))
        if found != want:
            raise ValueError(
                f"the {field} of initial_state must be {want} for these currents, got {found}; "
                "pass a state that this neuron returned for the same batch, or None to start at "
                "rest."
            )


def _describe(array: Any) -> str:
    """Return dtype and shape of an array, such as float32[2,3]."""
    if array is None or not hasattr(array, "dtype"):
        return show_value(array)
    return f"{array.dtype}[{','.join(map(str, jnp.shape(array)))}]"


def run_neuron(
    neuron: nn.Module,
    fire: Fire,
    x: Float[Array, "*BTNC"],
    state: MembraneState | None,
    *,
    per_step: Sequence[Array] = (),
    shared: Sequence[Array] = (),
    extra: int = 0,
) -> tuple[Array, Array, MembraneState | None]:
    """Return membranes before firing, outputs and the state after the last step.

    The fields `unroll` and `checkpoint_every` of `neuron` choose the loop of `over_time`. With
    `state` None the neuron starts at rest, and the returned state is None.
    """
    every = neuron.checkpoint_every
    if state is None:
        u, out = over_time(
            fire,
            x,
            per_step=per_step,
            shared=shared,
            extra=extra,
            straight=neuron.unroll,
            checkpoint_every=every,
        )
        return u, out, None
    u, out, after = over_time_from(
        fire,
        x,
        (state.membrane, state.potential)[: 1 + extra],
        per_step=per_step,
        shared=shared,
        straight=neuron.unroll,
        checkpoint_every=every,
    )
    return u, out, _advance(state, x.shape[1], *after)


def scan_neuron(
    neuron: nn.Module,
    step: Callable[..., tuple[Array, Any]],
    current: Float[Array, "*BTNC"],
    state: MembraneState | None,
    *per_step: Array,
) -> tuple[Any, MembraneState | None]:
    """Return the outputs of `step`, run by the plain loop, and the state as `run_neuron` does."""
    if state is None:
        return run_over_time(step, current, *per_step, unroll=neuron.unroll), None
    v, out = run_from(step, state.membrane, current, *per_step, unroll=neuron.unroll)
    return out, _advance(state, current.shape[1], v)


def _advance(state: MembraneState, steps: int, *arrays: Array) -> MembraneState:
    named = dict(zip(FIELDS, arrays, strict=False))
    if state.steps is not None:
        named["steps"] = state.steps + np.int32(steps)
    return state.replace(**named)


def finish(spikes: Array, state: MembraneState | None, return_state: bool) -> Any:
    """Return the result of a neuron: spikes, and its state if the caller asked for it."""
    return (spikes, state) if return_state else spikes


def run_inner(
    inner: nn.Module, current: Array, state: MembraneState | None
) -> tuple[Array, MembraneState | None]:
    """Return spikes and state of a neuron inside another one, whose state is the inner state."""
    if state is None:
        return inner(current), None
    own = state.replace(neuron=type(inner).__name__)
    s, after = inner(current, initial_state=own, return_state=True)
    return s, after.replace(neuron=state.neuron)


def match_rows(
    neuron: nn.Module, current: Array, state: MembraneState | None, *names: str
) -> Array:
    """Return currents with as many steps as the first of these parameters has rows, `[T, C]`.

    Flax compares the shapes of parameters with those that an initializer of the currents returns.
    The returned currents are for such an initializer: only their shape matters. Raises ValueError
    unless the parameter has the channels of `current` and a row for each of its steps, or one row
    in all. Before initialization any shape is right.
    """
    stored = [name for name in names if neuron.has_variable("params", name)]
    shape = jnp.shape(neuron.get_variable("params", stored[0])) if stored else ()
    if len(shape) != 2:
        return current
    (rows, channels), steps = shape, current.shape[1]
    name = f"the parameter {stored[0]} of {neuron.name or type(neuron).__name__}"
    if current.shape[-1] != channels or (state is None and rows not in (1, steps)):
        raise ValueError(
            f"{name} is for T={rows} steps and C={channels} channels, but the input "
            f"{current.shape} has T={steps} and C={current.shape[-1]}; initialize again, or pass "
            f"an input of T={rows} steps and C={channels} channels."
        )
    # Under `jit` the count of a state that was passed in is unknown; see `take_rows`.
    if state is not None and rows > 1 and not isinstance(state.steps, jax.core.Tracer):
        if not 0 <= (done := int(state.steps)) <= rows - steps:
            raise ValueError(
                f"{name} is for T={rows} steps, but this input continues after step {done} for "
                f"{steps} more. Start at rest with initial_state=None; or initialize with one "
                "step, whose row is then used at every step."
            )
    if rows == steps:
        return current
    return jnp.broadcast_to(current[:, :1], (current.shape[0], rows, *current.shape[2:]))


def take_rows(
    rows: Float[Array, "T ..."], state: MembraneState | None, steps: int
) -> Float[Array, "t ..."]:
    """Return the rows of the next `steps` steps; a single row is repeated.

    Rows beyond the last are NaN, as in `jnp.take`: under `jit` the count of a state may be unknown.
    """
    if len(rows) == 1:
        return jnp.broadcast_to(rows, (steps, *rows.shape[1:])) if steps > 1 else rows
    if state is None:
        return rows
    places = state.steps + np.arange(steps, dtype=np.int32)
    return jnp.take(rows, places, axis=0, mode="fill", fill_value=jnp.nan)


def apply_with_states(
    model: nn.Module,
    variables: Mapping[str, Any],
    x: Any,
    states: Mapping[str, MembraneState] | None = None,
    **options: Any,
) -> tuple[Any, dict[str, MembraneState]]:
    """Return `model.apply(variables, x, **options)` and the states of its neurons by path.

    `states` are those of the call before; without them the neurons start at rest. The model runs
    its neurons as usual; all its other layers must treat every step by itself. A neuron of your own
    needs the arguments `initial_state` and `return_state`: without them it starts at rest in every
    call. Networks of `pit_jax.models` take frames of `num_steps` steps: `model.clone(num_steps=1)`
    takes one. Raises ValueError if `states` has other layers than the model, or if a neuron is
    called twice.
    """
    after: dict[str, MembraneState] = {}

    def carry_state(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        # A neuron inside a neuron, as in RealSpike, is called with its part of the state.
        if not _takes_state(context) or len(args) > 1 or "return_state" in kwargs:
            return call(*args, **kwargs)
        path = "/".join(context.module.path)
        if path in after or (states is not None and path not in states):
            wrong = "is called twice" if path in after else "is not in states"
            raise ValueError(
                f"the neuron {path} {wrong}; pass the states that a call of the same model "
                "returned, and use a neuron of its own in each place."
            )
        state = None if states is None else states[path]
        out, after[path] = call(*args, initial_state=state, return_state=True, **kwargs)
        return out

    with nn.intercept_methods(carry_state):
        out = model.apply(variables, x, **options)
    if states is not None and (extra := sorted(states.keys() - after.keys())):
        raise ValueError(f"states has the layer {extra[0]}, which this model does not have.")
    return out, after


def _takes_state(context: Any) -> bool:
    if context.method_name != "__call__":
        return False
    return "return_state" in signature(type(context.module).__call__).parameters
