"""Numbers of NIR nodes, which other tools store as scalars, lists or arrays of any type."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from pit_jax.display import show_value
from pit_jax.export.errors import NotInNIR


def read_numbers(name: str, what: str, value: Any) -> np.ndarray:
    """Return `value` as an array of finite floats; raise NotInNIR if it is none."""
    try:
        array = np.asarray(value)
        array = array if array.dtype.kind == "f" else array.astype(np.float32, casting="safe")
    except (TypeError, ValueError):
        # The safe cast refuses texts and complex numbers, but also whole numbers of 32 bits.
        array = np.asarray(value)
        if array.dtype.kind not in "iub":
            raise NotInNIR(
                f"{name} has {what} = {show_value(value)}; it must be numbers."
            ) from None
        array = array.astype(np.float32)
    if not np.all(np.isfinite(array)):
        raise NotInNIR(f"{name} has {what} that is not finite; get another copy of the graph.")
    largest = np.abs(array).max(initial=0)
    if largest > jnp.finfo(jnp.result_type(float)).max:
        raise NotInNIR(f"{name} has {what} of {largest:g}, which is too large for float32.")
    return array


def read_whole(name: str, what: str, value: Any, least: int) -> int:
    """Return `value` as a whole number of at least `least`; raise NotInNIR if it is none."""
    numbers = read_wholes(name, what, value, least)
    if len(numbers) != 1:
        raise NotInNIR(f"{name} has {what} = {show_value(value)}; it must be one whole number.")
    return numbers[0]


def read_pair(name: str, what: str, value: Any, least: int) -> tuple[int, int]:
    """Return two whole numbers of at least `least`, from one or two; raise NotInNIR if not."""
    numbers = read_wholes(name, what, value, least)
    if len(numbers) not in (1, 2):
        raise NotInNIR(
            f"{name} has {what} = {show_value(value)}; it must be one or two whole numbers."
        )
    return numbers[0], numbers[-1]


def read_wholes(name: str, what: str, value: Any, least: int) -> tuple[int, ...]:
    """Return whole numbers from `least` to 2³¹ as a tuple; raise NotInNIR if one is not."""
    array = np.ravel(np.asarray(value))
    good = array.dtype.kind in "iuf" and np.all((array >= least) & (array < 2**31))
    if not good or np.any(array != np.floor(array)):
        raise NotInNIR(
            f"{name} has {what} = {show_value(value)}; it must be whole and at least {least}."
        )
    return tuple(int(number) for number in array)
