"""A neuron over time as one function with its own gradient.

A neuron is a function `fire` of its membrane u_t before firing, and its current enters by addition:

    (remain_t, spikes_t) = fire(u_t, parameters),    u_t = remain_{t-1} + x_t,    remain_{-1} = 0.

Only the states before firing are saved for the backward pass, membranes in the buffer of currents.
Their gradients replace the gradients of the spikes. Time stays axis 1: `lax.scan` would move it to
the front, four copies of everything. scan.py has the plain loop, with which tests compare this one.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from pit_jax.checks.bounds import MOST_WHOLE, Interval
from pit_jax.neurons.scan import read_currents, widen

# Beyond this number of steps saving every state is slower, too: the rows of a step are far apart.
LONG = 64
# The bound of the field `checkpoint_every` of neurons.
CHECKPOINTS = Interval(1, MOST_WHOLE, whole=True, optional=True)

Fire = Callable[..., tuple[Array, ...]]
Arrays = tuple[Array, ...]


class StepPlan(NamedTuple):
    """The static arguments of `over_time`."""

    fire: Fire
    extra: int
    straight: int
    checkpoint_every: int


class Parameters(NamedTuple):
    """The parameters of a neuron: arrays `[T, ...]`, one row per step, and arrays of all steps."""

    per_step: Arrays
    shared: Arrays

    def at(self, t: Any) -> Arrays:
        """Return the arguments of `fire` in step `t`."""
        rows = (jax.lax.dynamic_index_in_dim(p, t, 0, keepdims=False) for p in self.per_step)
        return (*rows, *self.shared)

    def part(self, start: Any, size: int) -> "Parameters":
        """Return the parameters of `size` steps from `start`."""
        rows = (jax.lax.dynamic_slice_in_dim(p, start, size, 0) for p in self.per_step)
        return Parameters(tuple(rows), self.shared)


def over_time(
    fire: Fire,
    x: Float[Array, "*BTNC"],
    *,
    per_step: Sequence[Array] = (),
    shared: Sequence[Array] = (),
    extra: int = 0,
    straight: int = 4,
    checkpoint_every: int | None = None,
) -> tuple[Array, Array]:
    """Return membranes before firing and outputs, `[B, T, ...]`, of a neuron that starts at rest.

    `fire(u, *extra, *per_step, *shared) -> (remain, *extra, out)` is one step on `[B, ...]`. It
    computes every neuron from its own membrane alone, and reads parameters from its arguments,
    never from a closure: arrays `per_step` have one row per step, `shared` are the same at every
    step. `extra` is the number of further states, which start at 0. Up to `straight` steps are
    compiled without a loop. With `checkpoint_every=k` less than T the backward pass computes the
    states again from the currents and every k-th state, which alone are kept; by default k is about
    the root of T for more than `LONG` steps. The dtype is float32 or wider for any dtype of `x`.
    Raises ValueError unless `x` has batch, time and channel axes and a float dtype.
    """
    x = read_currents(x)
    plan = _make_plan(fire, x.shape[1], extra, straight, checkpoint_every)
    u, out, _ = _run_plan(plan, x, (), Parameters(tuple(per_step), tuple(shared)))
    return u, out


def over_time_from(
    fire: Fire,
    x: Float[Array, "*BTNC"],
    state: Sequence[ArrayLike],
    *,
    per_step: Sequence[Array] = (),
    shared: Sequence[Array] = (),
    straight: int = 4,
    checkpoint_every: int | None = None,
) -> tuple[Array, Array, tuple[Array, ...]]:
    """Return membranes and outputs as `over_time` does, and the state after the last step.

    The neuron starts in `state` instead of at rest: `(remain, *extra)` as `fire` returns them, each
    `[B, ...]`. Passing the returned state to the next call continues the stream. Gradients flow
    into `state` and out of the returned state. Raises ValueError as `over_time` does, and for a
    state of another shape than `x[:, 0]`.
    """
    x = read_currents(x)
    first = tuple(jnp.asarray(part, widen(x.dtype)) for part in state)
    if wrong := [part.shape for part in first if part.shape != x[:, 0].shape]:
        raise ValueError(f"the state must have the shape {x[:, 0].shape}, got {wrong[0]}.")
    plan = _make_plan(fire, x.shape[1], len(first) - 1, straight, checkpoint_every)
    return _run_plan(plan, x, first, Parameters(tuple(per_step), tuple(shared)))


def _make_plan(
    fire: Fire, steps: int, extra: int, straight: int, checkpoint_every: int | None
) -> StepPlan:
    if checkpoint_every is None:
        checkpoint_every = math.isqrt(steps) if steps > LONG else steps
    return StepPlan(fire, extra, straight, checkpoint_every)


def _run_plan(
    plan: StepPlan, x: Array, state: Arrays, parameters: Parameters
) -> tuple[Array, Array, Arrays]:
    # A bfloat16 membrane has 8 bits: it would lose small currents, and move across ties.
    x = x.astype(widen(x.dtype))
    if _reads_traced(plan, x, parameters):  # Then only JAX knows the gradient.
        return _run_all(plan, x, state, parameters)[0]
    return _run(plan, x, state, parameters)


def align(rows: Float[Array, "T ..."], ndim: int) -> Array:
    """Return `rows`, one per step, in a shape that broadcasts to `ndim` axes `[B, T, ..., C]`."""
    return rows.reshape(1, len(rows), *(1,) * (ndim - 1 - rows.ndim), *rows.shape[1:])


def _reads_traced(plan: StepPlan, x: Array, parameters: Parameters) -> bool:
    """Return whether `fire` reads traced values that are not among its arguments.

    They come from fields of a neuron, such as a threshold that a user's own function learns.
    """
    _, traced = jax.closure_convert(plan.fire, *_rest(plan, x), *parameters.at(0))
    return bool(traced)


def _rest(plan: StepPlan, x: Array) -> Arrays:
    """Return the states of a neuron at rest, `[B, ...]`, each an array of zeros."""
    return tuple(jnp.zeros_like(x[:, 0]) for _ in range(1 + plan.extra))


def _take(arrays: Arrays, t: Any) -> Arrays:
    return tuple(jax.lax.dynamic_index_in_dim(x, t, 1, keepdims=False) for x in arrays)


def _put(arrays: Arrays, rows: Arrays, t: Any, axis: int = 1) -> Arrays:
    put = jax.lax.dynamic_update_index_in_dim
    return tuple(put(x, row, t, axis) for x, row in zip(arrays, rows, strict=True))


def _stack(steps: Sequence[Arrays], axis: int = 1) -> Arrays:
    return tuple(jnp.stack(rows, axis) for rows in zip(*steps, strict=True))


def _charge(plan: StepPlan, x: Array, extra: Arrays, parameters: Parameters) -> Arrays:
    """Return the states `[B, T, ...]` before firing; `x[:, 0]` is the first membrane."""
    steps = x.shape[1]

    def advance(state: Arrays, t: Any, current: Array) -> Arrays:
        remain, *rest, _ = plan.fire(*state, *parameters.at(t - 1))
        return (remain + current, *rest)

    state = (x[:, 0], *extra)
    if steps <= plan.straight:
        states = [state]
        for t in range(1, steps):
            states.append(advance(states[-1], t, x[:, t]))
        return _stack(states)

    def body(t: Any, carry: tuple[Arrays, Arrays]) -> tuple[Arrays, Arrays]:
        state, buffers = carry
        # Read from the buffer that is written, so that one buffer is enough.
        state = advance(state, t, *_take(buffers[:1], t))
        return state, _put(buffers, state, t)

    # Membranes replace the currents in their buffer: each is written after its current was read.
    buffers = (x, *_put(tuple(jnp.zeros_like(x) for _ in extra), extra, 0))
    return jax.lax.fori_loop(1, steps, body, (state, buffers))[1]


def _emit(plan: StepPlan, states: Arrays, parameters: Parameters) -> Array:
    """Return the outputs of all steps: one elementwise pass, which fuses with what follows."""
    # A vmap over time would move the axis of steps to the front and copy everything.
    rows = (align(p, states[0].ndim) for p in parameters.per_step)
    return plan.fire(*states, *rows, *parameters.shared)[-1]


def _pull(
    plan: StepPlan,
    states: Arrays,
    parameters: Parameters,
    after: Arrays,
    g: Array,
    g_u: Array | None,
) -> tuple[Array, Arrays, Parameters]:
    """Return the gradients of the currents, of the state before the first step, and of parameters.

    `after` is the gradient of the state after the last step, `g` of the outputs, `g_u` of the
    membranes, unless it is 0.
    """
    steps, rows = g.shape[1], len(parameters.per_step)

    def step(t: Any, after: Arrays, g: Array) -> tuple[Arrays, Arrays, Arrays]:
        pull = jax.vjp(plan.fire, *_take(states, t), *parameters.at(t))[1]
        u, *rest = pull((*after, g))
        if g_u is not None:
            u += _take((g_u,), t)[0]
        before, rest = (u, *rest[: plan.extra]), rest[plan.extra :]
        return before, tuple(rest[:rows]), tuple(rest[rows:])

    last = steps - 1
    before, row, total = step(last, after, g[:, last])
    if steps <= plan.straight:
        dx, by_step = [before[:1]], [row]
        for t in reversed(range(last)):
            before, row, shared = step(t, before, g[:, t])
            dx, by_step = [before[:1], *dx], [row, *by_step]
            total = jax.tree.map(jnp.add, total, shared)
        return _stack(dx)[0], before, Parameters(_stack(by_step, 0), total)

    # With parameters the gradient of an output has two readers, one of them a sum. Read it ahead,
    # after the write, or XLA copies the whole buffer at every step to keep it for both.
    ahead = bool(parameters.per_step or parameters.shared)

    def body(i: Any, carry: Any) -> Any:
        before, dx, by_step, total, g = carry
        t = last - i
        before, row, shared = step(t, before, *(g if ahead else _take(dx, t)))
        dx = _put(dx, before[:1], t)
        total = jax.tree.map(jnp.add, total, shared)
        return before, dx, _put(by_step, row, t, 0), total, _take(dx, t - 1) if ahead else g

    # The gradients of the currents replace those of the outputs.
    buffer = _put((g,), before[:1], last)
    sums = _put(jax.tree.map(jnp.zeros_like, parameters.per_step), row, last, 0)
    carry = (before, buffer, sums, total, _take(buffer, last - 1) if ahead else ())
    before, buffer, sums, total, _ = jax.lax.fori_loop(1, steps, body, carry)
    return buffer[0], before, Parameters(sums, total)


def _in_parts(steps: int, size: int, body: Callable[..., Any], carry: Any, *, back: bool) -> Any:
    """Run `body(start, size, carry)` for parts of `size` steps; the last may be shorter."""
    whole, rest = divmod(steps, size)
    if rest and back:
        carry = body(steps - rest, rest, carry)

    def run_part(i: Any, carry: Any) -> Any:
        return body((whole - 1 - i if back else i) * size, size, carry)

    carry = jax.lax.fori_loop(0, whole, run_part, carry)
    return body(steps - rest, rest, carry) if rest and not back else carry


def _charge_part(
    plan: StepPlan, x: Array, start: Any, size: int, state: Arrays, parameters: Parameters
) -> tuple[Arrays, Parameters]:
    """Return the states of a part that begins in `state`, and its parameters."""
    part = jax.lax.dynamic_slice_in_dim(x, start, size, 1)
    parameters = parameters.part(start, size)
    (part,) = _put((part,), state[:1], 0)
    return _charge(plan, part, state[1:], parameters), parameters


def _charge_and_emit(
    plan: StepPlan, every: int, x: Array, state: Arrays, parameters: Parameters
) -> tuple[Array, Array, Arrays, Arrays]:
    """Return membranes, outputs, the last state, and the state at the first step of each part."""

    def body(start: Any, size: int, carry: Any) -> Any:
        (remain, *extra), kept, buffers = carry
        state = (remain + _take((x,), start)[0], *extra)
        states, own = _charge_part(plan, x, start, size, state, parameters)
        out = _emit(plan, states, own)
        after = plan.fire(*(s[:, -1] for s in states), *own.at(size - 1))[:-1]
        put = jax.lax.dynamic_update_slice_in_dim
        buffers = tuple(put(b, y, start, 1) for b, y in zip(buffers, (states[0], out), strict=True))
        return after, _put(kept, state, start // every), buffers

    first = state or _rest(plan, x)
    kept = tuple(jnp.zeros_like(x[:, ::every]) for _ in first)
    carry = (first, kept, (jnp.zeros_like(x), jnp.zeros_like(x)))
    after, kept, (u, out) = _in_parts(x.shape[1], every, body, carry, back=False)
    return u, out, after, kept


def _pull_in_parts(
    plan: StepPlan,
    saved: tuple[Array, Arrays, Parameters],
    after: Arrays,
    g: Array,
    g_u: Array | None,
) -> tuple[Array, Arrays, Parameters]:
    """Return the gradients that `_pull` returns; compute the states of each part again."""
    x, kept, parameters = saved
    every = plan.checkpoint_every
    put = jax.lax.dynamic_update_slice_in_dim
    read = jax.lax.dynamic_slice_in_dim

    def body(start: Any, size: int, carry: Any) -> Any:
        after, dx, by_step, total = carry
        states, own = _charge_part(plan, x, start, size, _take(kept, start // every), parameters)
        g_part = None if g_u is None else read(g_u, start, size, 1)
        d, before, more = _pull(plan, states, own, after, read(dx, start, size, 1), g_part)
        by_step = tuple(put(b, p, start, 0) for b, p in zip(by_step, more.per_step, strict=True))
        return before, put(dx, d, start, 1), by_step, jax.tree.map(jnp.add, total, more.shared)

    zeros = partial(jax.tree.map, jnp.zeros_like)
    carry = (after, g, *zeros(tuple(parameters)))
    before, dx, by_step, total = _in_parts(x.shape[1], every, body, carry, back=True)
    return dx, before, Parameters(by_step, total)


def _run_all(
    plan: StepPlan, x: Array, state: Arrays, parameters: Parameters
) -> tuple[tuple[Array, Array, Arrays], Any]:
    """Return membranes, outputs and the last state, and the values that the backward pass needs.

    An empty `state` is rest; then the last state is empty, too, and costs nothing.
    """
    every, steps = plan.checkpoint_every, x.shape[1]
    if every < steps:
        u, out, after, kept = _charge_and_emit(plan, every, x, state, parameters)
        return (u, out, after if state else ()), (x, kept, parameters)
    if state:
        (x,) = _put((x,), (state[0] + x[:, 0],), 0)
    states = _charge(plan, x, state[1:] or _rest(plan, x)[1:], parameters)
    last = plan.fire(*_take(states, steps - 1), *parameters.at(steps - 1))[:-1] if state else ()
    return (states[0], _emit(plan, states, parameters), last), (None, states, parameters)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(
    plan: StepPlan, x: Array, state: Arrays, parameters: Parameters
) -> tuple[Array, Array, Arrays]:
    return _run_all(plan, x, state, parameters)[0]


def _run_forward(plan: StepPlan, *inputs: Any) -> tuple[tuple[Array, Array, Arrays], Any]:
    # With symbolic zeros every array comes with a flag whether it is differentiated.
    x, state, parameters = jax.tree.map(
        lambda p: p.value, inputs, is_leaf=lambda p: hasattr(p, "perturbed")
    )
    return _run_all(plan, x, state, parameters)


def _run_backward(
    plan: StepPlan, saved: Any, gradients: tuple[Any, Any, Any]
) -> tuple[Array, Arrays, Parameters]:
    # Membranes that are recorded, but not differentiated, cost nothing.
    g_u = None if isinstance(gradients[0], SymbolicZero) else gradients[0]
    g, g_last = _fill_zeros(gradients[1]), tuple(map(_fill_zeros, gradients[2]))
    x, states, parameters = saved
    after = g_last or tuple(jnp.zeros_like(s[:, 0]) for s in states)
    if x is not None:
        dx, before, d_parameters = _pull_in_parts(plan, saved, after, g, g_u)
    else:
        dx, before, d_parameters = _pull(plan, states, parameters, after, g, g_u)
    return dx, before if g_last else (), d_parameters


def _fill_zeros(g: Any) -> Array:
    return jnp.zeros(g.shape, g.dtype) if isinstance(g, SymbolicZero) else g


_run.defvjp(_run_forward, _run_backward, symbolic_zeros=True)
