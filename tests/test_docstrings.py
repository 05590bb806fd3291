"""Meanings of arguments, which the help of a config prints, are read from docstrings."""

from functools import partial

import optax
import pytest

from pit_jax.docstrings import read_arguments


def explain(decay, threshold=1.0, *rest, **fields):
    """Return nothing.

    note: this line explains no argument.

    Args:
        decay: what stays of the membrane,
            from step: to step.
        threshold (float): the membrane from which
            it fires.

        *rest: more.
        **fields:
            keywords.

    Returns:
        decay: not an argument.
    """


MEANINGS = {
    "decay": "what stays of the membrane, from step: to step.",
    "threshold": "the membrane from which it fires.",
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
