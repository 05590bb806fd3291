"""Properties of every neuron that the common tests need, and functions that run a neuron."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from pit_jax.neurons import NEURONS
from pit_jax.neurons.pit_full import factorize
from tests.helpers import jit_once

Params = dict[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """Properties of one neuron; the defaults fit IF, LIF and CLIF.

    `prepare` changes the initial parameters such that the currents reach every level and no factor
    is 1. `fired` has all counts that the neuron then fires; `levels` is the largest. `first`
    returns the membranes of step 0 from its currents, `in_units` the membranes `[B, T, ..., C]` in
    units in which all decision boundaries are multiples of 1/2, and `leaves` the output for given
    counts.
    """

    prepare: Callable[[Params], Params] = lambda params: params
    fired: tuple[int, ...] = (0, 1)
    levels: int = 1
    first: Callable[[Params, np.ndarray], np.ndarray] = lambda params, current: current
    in_units: Callable[[Params, np.ndarray], np.ndarray] = lambda params, membrane: membrane
    leaves: Callable[[Params, np.ndarray], np.ndarray] = lambda params, count: count


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def per_step(scale: np.ndarray) -> np.ndarray:
    """Return a scale `[T, C]` in a shape that broadcasts to neurons `[B, T, N, C]`."""
    return scale[:, None]


def glif_first(params: Params, current: np.ndarray) -> np.ndarray:
    open_ = {name: sigmoid(logit) for name, logit in params.items()}
    conductance = open_["conductance_logit"][0]
    return (1 - open_["input_gate"] * (1 - conductance)) * current - (
        1 - open_["leak_gate"]
    ) * open_["leak_logit"]


def set_exact_mixing(params: Params) -> Params:
    """Return parameters of PITFull in multiples of 1/4, so that A and its inverse are exact."""
    mixing = np.random.default_rng(0).integers(-2, 3, params["mixing"].shape) / 4
    return {"a": np.ones_like(params["a"]), "mixing": mixing.astype(params["mixing"].dtype)}


def full_matrix(params: Params) -> np.ndarray:
    """Return A `[T, C, C]`."""
    lower, upper, _, _ = jax.vmap(factorize)(jnp.asarray(params["mixing"]))
    return np.asarray(lower * params["a"][:, None] @ upper)


def mix(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Apply `matrix` `[T, C, C]` to the channels of `x` `[B, T, N, C]`."""
    return np.einsum("tij,btnj->btni", matrix, x)


BINARY = Row()
HALVED = Row(
    prepare=lambda params: {"a": params["a"] / 2},
    fired=(0, 1, 2, 3, 4),
    levels=4,
    in_units=lambda params, membrane: membrane / per_step(params["a"]),
    leaves=lambda params, count: per_step(params["a"]) * count,
)
ROWS = {
    "IF": BINARY,
    "LIF": BINARY,
    "PLIF": Row(
        prepare=lambda params: {"w": params["w"] + 1},
        first=lambda params, current: sigmoid(params["w"]) * current,
    ),
    "CLIF": BINARY,
    "GLIF": Row(first=glif_first),
    "ILIF": Row(fired=(0, 1, 2, 3, 4), levels=4),
    "PIT": HALVED,
    "PITFull": Row(
        prepare=set_exact_mixing,
        fired=(0, 1, 2, 3, 4),
        levels=4,
        in_units=lambda params, membrane: mix(np.linalg.inv(full_matrix(params)), membrane),
        leaves=lambda params, count: mix(full_matrix(params), count),
    ),
    "RealSpike": Row(
        prepare=lambda params: {"amplitude": 0.5 + np.cumsum(params["amplitude"])},
        leaves=lambda params, count: params["amplitude"] * count,
    ),
    "Ternary": Row(fired=(-1, 0, 1)),
    "TrainableTernary": Row(
        prepare=lambda params: {"alpha": params["alpha"] / 2},
        fired=(-1, 0, 1),
        leaves=lambda params, count: params["alpha"] * count,
    ),
    "QAT": Row(
        prepare=lambda params: {"a": params["a"] / 2},
        fired=(0, 1, 2, 3, 4),
        levels=4,
        in_units=lambda params, membrane: membrane / params["a"],
        leaves=lambda params, count: params["a"] * count,
    ),
    "QBLIF": Row(
        prepare=lambda params: {"a": params["a"] * 0.9},
        fired=(0, 1, 2, 3, 4),
        levels=4,
        in_units=lambda params, membrane: membrane / params["a"],
        leaves=lambda params, count: params["a"] * count,
    ),
}


def draw_currents(shape=(4, 4, 5, 3), dtype=jnp.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0.7, 1.5, shape), dtype)


def make_ready(name, x, **fields):
    """Return a neuron and its variables, prepared by its row."""
    neuron = NEURONS[name](**fields)
    variables = init(neuron, x)
    if not variables:
        return neuron, variables
    params = ROWS[name].prepare(jax.tree.map(np.asarray, variables["params"]))
    return neuron, {"params": jax.tree.map(jnp.asarray, params)}


def get_parameters(variables) -> Params:
    """Return the parameters as NumPy arrays, an empty dict for a neuron without any."""
    return jax.tree.map(np.asarray, variables.get("params", {}))


def _init(neuron, x):
    return neuron.init(jax.random.key(0), x)


def run(neuron, variables, x):
    """Return output and probes, which a neuron inside the neuron may have sown."""
    y, sown = neuron.apply(variables, x, mutable=["intermediates"])
    probes = flatten_dict(sown.get("intermediates", {}))
    return y, {path[-1]: values[0] for path, values in probes.items()}


def differentiate(neuron, variables, x):
    """Return gradients of a weighted sum of the output for the variables and the currents."""
    weights = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
    return jax.grad(lambda variables, x: jnp.sum(weights * neuron.apply(variables, x)), (0, 1))(
        variables, x
    )


def get_dtypes(name, x):
    """Return the output, the probes and the variables of a neuron as shapes and dtypes."""

    def start_and_run(x):
        variables = NEURONS[name]().init(jax.random.key(0), x)
        return *run(NEURONS[name](), variables, x), variables

    return jax.eval_shape(start_and_run, x)


# Compiled once for all tests that share a neuron, a shape and the promotion of dtypes.
init = jit_once(_init, static_argnums=0)
jit_run = jax.jit(run, static_argnums=0)  # With all optimizations: tests compare its bits.
jit_gradients = jit_once(differentiate, static_argnums=0)
