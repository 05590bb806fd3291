"""The memory of a compiled forward and backward pass, read from the program that XLA made.

XLA recomputes cheap arrays instead of storing them, so a compiled program holds less between the
two passes than JAX saves; `pit_jax.analysis.memory` counts the latter.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from pit_jax.analysis.memory import make_objective

# Instructions whose result is the memory of their operands.
ALIASES = ("bitcast", "get-tuple-element", "tuple", "optimization-barrier")
INSTRUCTION = re.compile(r"\s+(ROOT )?%(\S+) = (\(.*?\)|\S+) ([\w-]+)\((.*)")
ARRAY = re.compile(r"(pred|[a-z]+\d\w*)\[([\d,]*)\]")


class CompiledMemory(NamedTuple):
    """Bytes of a compiled gradient.

    `temporaries` is all memory that the program reserves in addition to arguments and results.
    `held` is the part of it that depends on the images and is in use when the logits are computed,
    where the backward pass begins; None for a program that does not show its instructions.
    """

    temporaries: int
    held: int | None


class Instruction(NamedTuple):
    """A line of a program: the bytes of each array that it returns, and the names that it reads."""

    name: str
    kind: str
    sizes: tuple[int, ...]
    operands: tuple[str, ...]
    # Of a parameter, or of an element of a tuple.
    element: int
    is_root: bool


def compile_memory(
    model: nn.Module,
    images: Any,
    labels: Any,
    *,
    loss: Callable[[Any, Any], Any],
    compiler_options: dict[str, Any] | None = None,
) -> CompiledMemory:
    """Compile the gradient of `loss` on a batch for this machine's device, and return its memory.

    The arguments are those of `pit_jax.analysis.memory.training_memory`. Nothing is run, but
    compiling takes as long as at the start of training.
    """
    key, variables, objective = make_objective(model, images, loss)
    stats = variables.get("batch_stats", {})

    def differentiate(images: Any, params: Any, stats: Any, labels: Any, key: Any) -> Any:
        grads, (logits, updates) = jax.grad(objective, has_aux=True)(
            params, stats, images, labels, key
        )
        return logits, updates, grads

    # The images are argument 0 and the logits result 0, where `count_held` expects them.
    step = jax.jit(differentiate, keep_unused=True, compiler_options=compiler_options)
    compiled = step.lower(images, variables["params"], stats, labels, key).compile()
    analysis: Any = compiled.memory_analysis()
    return CompiledMemory(analysis.temp_size_in_bytes, count_held(compiled.as_text() or ""))


def count_held(program: str) -> int | None:
    """Return the bytes that depend on argument 0 and are in use when result 0 is computed.

    `program` is the text of a scheduled program: each instruction runs after those above it, and an
    array is in use from the line that makes it to the last one that reads it. Return None if no
    line of the main computation makes result 0, or if some lines are hidden in CUDA graphs.
    """
    if "\nENTRY " not in program or "command_buffer" in program:
        return None
    arrays: dict[str, tuple[tuple[str, int], ...]] = {}
    size: dict[tuple[str, int], int] = {}
    made: dict[tuple[str, int], int] = {}
    last: dict[tuple[str, int], int] = {}
    result: tuple[tuple[str, int], ...] = ()
    for line, (name, kind, sizes, operands, element, is_root) in enumerate(_read(program)):
        read = tuple(array for operand in operands for array in arrays.get(operand, ()))
        if kind == "parameter":
            # Weights, and what is made of them alone, are no activations.
            arrays[name] = ((name, 0),) if element == 0 else ()
        elif kind in ALIASES:
            is_element = kind == "get-tuple-element" and element < len(read)
            arrays[name] = (read[element],) if is_element else read
        else:
            last |= dict.fromkeys(read, line)
            arrays[name] = tuple((name, i) for i in range(len(sizes))) if read else ()
            size |= {(name, i): bytes_ for i, bytes_ in enumerate(sizes)}
            made |= dict.fromkeys(arrays[name], line)
        if is_root:
            result = arrays.get(operands[0], ()) if kind == "tuple" else ()
            last |= dict.fromkeys(read, line)
    if not (result and result[0] in made):
        return None
    turn = made[result[0]]
    return sum(size[array] for array, line in made.items() if line <= turn < last.get(array, 0))


def _read(program: str) -> Iterator[Instruction]:
    """Yield the instructions of the main computation of a program in their order."""
    main = program[program.index("\nENTRY ") :]
    for line in main.splitlines():
        if found := INSTRUCTION.match(re.sub(r"/\*.*?\*/", "", line)):
            root, name, shape, kind, rest = found.groups()
            number = (
                re.match(r"\d+", rest) if kind == "parameter" else re.search(r"index=\d+", rest)
            )
            yield Instruction(
                name,
                kind,
                tuple(map(_count_bytes, ARRAY.findall(shape))),
                tuple(re.findall(r"%([\w.-]+)", rest.partition(")")[0])),
                int(number[0].removeprefix("index=")) if number else 0,
                bool(root),
            )


def _count_bytes(array: tuple[str, str]) -> int:
    """Return the bytes of an array such as ("f32", "8,3"), with whole bytes per value."""
    dtype, shape = array
    bits = re.search(r"\d+", dtype)
    total = max(int(bits[0]) // 8, 1) if bits else 1
    for length in filter(None, shape.split(",")):
        total *= int(length)
    return total
