"""The operations of a traced function, with those inside of the functions that it calls."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from pit_jax.jaxprs import find_inner, get_shape

# Calls that run a function once, on their operands. The operations of the function replace them.
CALLS = {
    *("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2"),
    *("custom_jvp_call", "custom_vjp_call"),
}
JAX_FOLDER = str(Path(jax.__file__).parent)


class Variable:
    """A result of an operation, with its abstract value, as in a jaxpr."""

    def __init__(self, aval: Any) -> None:
        self.aval = aval


@dataclass(frozen=True, eq=False)
class Operation:
    """An equation, whose inputs are variables of the whole function or literals.

    `name` is its primitive, or the function of a call that is kept as one operation. `reported` is
    the function of JAX that it is part of, for errors. `place` has the modules around it.
    """

    name: str
    reported: str
    equation: JaxprEqn
    inputs: Sequence[Any]
    outputs: Sequence[Variable]
    params: dict[str, Any]
    place: str

    def evaluate(self, operands: Sequence[Any]) -> list[Any]:
        """Return the results for arrays."""
        primitive = self.equation.primitive
        with self.equation.ctx.manager:
            made = primitive.bind(*operands, **primitive.get_bind_params(self.params))
        return made if primitive.multiple_results else [made]


@dataclass
class Flattener:
    """The operations of a jaxpr so far, and the values of variables that are constants.

    Calls whose name `keeps` accepts become one operation of that name.
    """

    keeps: Callable[[str], bool]
    operations: list[Operation] = field(default_factory=list)
    constants: dict[Any, Any] = field(default_factory=dict)

    def add(
        self, closed: ClosedJaxpr, inputs: Iterable[Any], stack: Any = None, called: str = ""
    ) -> list[Any]:
        """Add the operations of a jaxpr and return its results, variables or literals.

        `stack` has the names of the modules around it; `called` is the function of JAX of which it
        is the body, if any.
        """
        jaxpr = closed.jaxpr
        # A function may be called several times: its variables are not those of the operations.
        known = dict(zip(jaxpr.invars, inputs, strict=True))
        for v, value in zip(jaxpr.constvars, closed.consts, strict=True):
            known[v] = Variable(v.aval)
            self.constants[known[v]] = value

        def read(v: Any) -> Any:
            return v if isinstance(v, Literal) else known[v]

        for equation in jaxpr.eqns:
            operands = [read(v) for v in equation.invars]
            names = equation.source_info.name_stack
            names = names if stack is None else stack + names
            inner = find_inner(equation) if equation.primitive.name in CALLS else None
            name = equation.primitive.name if inner is None else _get_function(inner.jaxpr)
            if inner is not None and not self.keeps(name):
                within = called or (name if _is_of_jax(inner.jaxpr) else "")
                results = self.add(inner, operands, names, within)
            else:
                results = [Variable(v.aval) for v in equation.outvars]
                self.operations.append(
                    Operation(
                        *(name, called or name, equation, operands, results),
                        *(dict(equation.params), str(names)),
                    )
                )
            known |= zip(equation.outvars, results, strict=True)
        return [read(v) for v in jaxpr.outvars]


def group_readers(operations: Sequence[Operation]) -> dict[Any, list[Operation]]:
    """Return the operations that read each variable."""
    readers: dict[Any, list[Operation]] = {}
    for operation in operations:
        for v in operation.inputs:
            if not isinstance(v, Literal):
                readers.setdefault(v, []).append(operation)
    return readers


def get_name(operation: Operation) -> str:
    """Return the name of an operation, or of the function that it calls."""
    return operation.name


def get_tail(operation: Operation, leading: int = 2) -> tuple[int, ...]:
    """Return the shape of an operation's output without its `leading` axes."""
    return get_shape(operation.outputs[0])[leading:]


def get_path(operation: Operation) -> str:
    """Return the path of the module around an operation."""
    # The place begins with the name of the network's class.
    return operation.place.partition("/")[2] or operation.place


def describe_place(operation: Operation) -> str:
    """Return where an operation is, for an error message."""
    return f"in {operation.place or 'the network'}"


def _get_function(jaxpr: Jaxpr) -> str:
    name: str = jaxpr.debug_info.func_name
    return name


def _is_of_jax(jaxpr: Jaxpr) -> bool:
    """Return whether a function is defined in JAX, such as jax.nn.relu."""
    return JAX_FOLDER in jaxpr.debug_info.func_src_info
