"""The tables of functions that a config can name have every such function of their module."""

import inspect

import pytest

from pit_jax import initializers, surrogate
from pit_jax.initializers import SCALE_INITS
from pit_jax.neurons import scale, step
from pit_jax.neurons.scale import PARAMETRIZATIONS
from pit_jax.neurons.step import RESETS
from pit_jax.surrogate import SPIKES


def find_functions(module, *parameters):
    """Return the functions of a module that have exactly these parameters, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
        if not inspect.isclass(value) and tuple(inspect.signature(value).parameters) == parameters
    }


@pytest.mark.parametrize(
    "table, module, parameters",
    [
        (SCALE_INITS, initializers, ("u", "levels")),
        (PARAMETRIZATIONS, scale, ("neuron", "first_batch", "current")),
        (
            {f"{name}_reset": f for name, f in RESETS.items()},
            step,
            ("u", "s", "threshold", "detach"),
        ),
        # Every surrogate of a binary spike has one parameter, a width or a slope.
        (SPIKES, surrogate, ("x", "width")),
    ],
)
def test_a_table_has_every_function_of_its_kind_by_name(table, module, parameters):
    found = find_functions(module, *parameters)
    if table is SPIKES:
        found |= find_functions(module, "x", "slope")
    assert table == found
