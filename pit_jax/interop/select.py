"""The state_dict inside a checkpoint."""

from collections.abc import Mapping
from typing import Any

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.unpickler import Skipped, Tensor

REFUSED = (
    "which is refused because building it could run code. With torch, save the weights alone: "
    "torch.save(model.state_dict(), PATH)."
)
# Completes the error for a state_dict that has only such tensors.
UNREAD = (
    "a kind of tensor that is not read, such as quantized, sparse, float8 or without values. With "
    "torch, save dense tensors of float32."
)
TENSORS = ("torch._utils._rebuild_", "safetensors.")


def find_state_dict(value: Any, entry: str | None) -> Mapping[str, Any]:
    """Return `value` or its only entry that is a state_dict; `entry` selects one of several.

    Entries of entries, such as "model.weights", are only searched if no entry is one.
    """
    if entry is None and _is_state_dict(value):
        return value
    outer = _list_entries(value)
    inner = {f"{a}.{b}": x for a, each in outer.items() for b, x in _list_entries(each).items()}
    if entry is not None:
        found = {key: x for key, x in (inner | outer).items() if key == entry and _has_tensors(x)}
    else:
        found = next(
            (
                found
                # A state_dict may also hold a few values that are no tensors.
                for fits in (_is_state_dict, _has_tensors)
                for entries in (outer, *[{"": value}] * (fits is _has_tensors), inner)
                if (found := {key: x for key, x in entries.items() if fits(x)})
            ),
            {},
        )
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise CheckpointError(
            f"{len(found)} entries hold tensors by name: {_list_names(found)}; choose one, e.g. "
            f"entry={next(iter(found))!r}."
        )
    raise CheckpointError(_explain(value, outer, entry))


def check_tensors(state_dict: Mapping[str, Any]) -> None:
    """Raise CheckpointError unless all values are tensors."""
    wrong = {name: x for name, x in state_dict.items() if not isinstance(x, Tensor)}
    if not wrong:
        return
    name, value = next(iter(wrong.items()))
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise CheckpointError(
        f"its state_dict holds {show_name(name)[:80]}, {_describe(value)}{more}, next to tensors. "
        f"If the network does not need it, ignore it: ignore=[{name[:80]!r}] or --ignore "
        f"{show_name(name)[:80]}."
    )


def _list_entries(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {key: inner for key, inner in value.items() if isinstance(key, str)}


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(key, str) and isinstance(x, Tensor) for key, x in value.items())
    )


def _has_tensors(value: Any) -> bool:
    """Return whether more than half of the values are tensors."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        return False
    return 2 * sum(isinstance(x, Tensor) for x in value.values()) > len(value)


def _explain(value: Any, entries: Mapping[str, Any], entry: str | None) -> str:
    if isinstance(value, Skipped):
        return f"it holds {value.name}, {_explain_skipped(value)}"
    wanted = "a state_dict" if entry is None else f"a state_dict under {entry!r}"
    skipped = next((x for x in entries.values() if isinstance(x, Skipped)), None)
    chosen = entries.get(entry or "", skipped)
    held = f"a dictionary with {_list_names(entries)}" if entries else type(value).__name__
    why = ""
    if isinstance(chosen, Skipped):
        why = f" It needs {chosen.name}, {_explain_skipped(chosen)}"
    return f"it holds {held}, but not {wanted} (tensors by name).{why}"


def _explain_skipped(value: Skipped) -> str:
    return UNREAD if value.name.startswith(TENSORS) else REFUSED


def _describe(value: Any) -> str:
    if isinstance(value, Skipped) and value.name.startswith(TENSORS):
        return f"{UNREAD.partition('.')[0]} ({value.name})"
    if isinstance(value, Skipped):
        return f"made by {value.name}"
    return f"of type {type(value).__name__}"


def _list_names(names: Mapping[str, Any]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(show_name(name)[:80] for name in list(names)[:10]) + more
