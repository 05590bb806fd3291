"""Readers of compiled HLO: which instructions run inside loops."""

import re

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.-]+)"
)
_CALLED_LISTS = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
_BODY = re.compile(r" while\(.*body=%?([\w.-]+)")
_CONVOLUTION = re.compile(r' convolution\(|custom_call_target="[^"]*conv', re.IGNORECASE)


def find_computations(text: str) -> dict[str, list[str]]:
    """Return the instructions of every computation by its name."""
    found: dict[str, list[str]] = {}
    inside: list[str] = []
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            inside = found[start[1]] = []
        else:
            inside.append(line)
    return found


def find_loops(text: str) -> list[str]:
    """Return the names of all loop bodies."""
    return _BODY.findall(text)


def find_convolutions(text: str) -> list[str]:
    """Return all convolution instructions."""
    return [line.strip() for line in text.splitlines() if _CONVOLUTION.search(line)]


def find_convolutions_in_loops(text: str) -> list[str]:
    """Return the convolution instructions that run inside a loop, at any depth."""
    found = find_computations(text)
    reached, todo = set(), find_loops(text)
    while todo:
        if (name := todo.pop()) not in reached:
            reached.add(name)
            todo += [called for line in found[name] for called in _find_called(line)]
    return [line for name in sorted(reached) for line in find_convolutions("\n".join(found[name]))]


def _find_called(line: str) -> list[str]:
    lists = ",".join(_CALLED_LISTS.findall(line))
    return _CALLED.findall(line) + re.findall(r"[\w.-]+", lists)
