"""Meanings of arguments, printed in the help of a config, are read from docstrings."""

import inspect
from functools import partial

import optax
import pytest

from pit_jax.layers import NORMS
from pit_jax.models import MODELS
from pit_jax.neurons import NEURONS
from pit_jax.neurons.mpbn import NormedLIF
from train.config.docstrings import read_arguments

# Arguments that a network or a program passes, and no config sets.
PASSED = {
    *("num_classes", "neuron", "num_steps", "parent", "name"),
    *("use_running_average", "scale_init", "bias_init", "dtype"),
}
PARTS = {**NEURONS, "NormedLIF": NormedLIF, **MODELS, **NORMS}
MOST_CHARACTERS = 180  # Two lines of a help page.


def explain(decay, threshold=1.0, *rest, **fields):
    """Return nothing.

    note: this line explains no argument.

    Args:
        decay: what stays of the membrane,
            from step: to step.
        threshold (float): the membrane at which
            it fires.

        *rest: more.
        **fields:
            keywords.

    Returns:
        decay: not an argument.
    """


MEANINGS = {
    "decay": "what stays of the membrane, from step: to step.",
    "threshold": "the membrane at which it fires.",
    "rest": "more.",
    "fields": "keywords.",
}


class Field:
    """A class.

    Attributes:
      width: channels.
    """

    width: int = 1


@pytest.mark.parametrize("function", [explain, partial(partial(explain, 1), threshold=2.0)])
def test_continued_lines_are_joined_and_other_sections_ignored(function):
    assert read_arguments(function) == MEANINGS


def test_fields_of_a_class_are_read_and_a_missing_section_is_empty():
    assert read_arguments(Field) == {"width": "channels."}
    assert read_arguments(lambda x: x) == {}


def test_docstrings_of_optax_are_read():
    meanings = read_arguments(optax.adamw)
    assert meanings["b1"] == "Exponential decay rate to track the first moment of past gradients."
    assert meanings["weight_decay"].startswith("Strength of the weight decay")


def list_settable(name):
    """Return the parameters of a part that a config can set."""
    passed = PASSED - (
        {"scale_init"} if name in NEURONS else {"dtype"} if name in MODELS else set()
    )
    parameters = inspect.signature(PARTS[name]).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in parameters if p.kind in kinds and p.name not in passed}


@pytest.mark.parametrize("name", PARTS)
def test_every_parameter_that_a_config_can_set_has_a_short_meaning_and_a_type(name):
    meanings, settable = read_arguments(PARTS[name]), list_settable(name)
    assert [key for key in settable if not meanings.get(key)] == []
    assert [key for key in settable if len(meanings[key]) > MOST_CHARACTERS] == []
    assert [key for key, p in settable.items() if p.annotation is inspect.Parameter.empty] == []


@pytest.mark.parametrize("name", PARTS)
def test_docstrings_explain_no_parameter_that_does_not_exist(name):
    assert read_arguments(PARTS[name]).keys() <= inspect.signature(PARTS[name]).parameters.keys()
