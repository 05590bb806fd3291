"""Remove the prefixes and entries that wrappers of networks add to the names of layers."""

import re
from collections.abc import Callable, Collection, Iterable

from pit_jax.display import show_name
from pit_jax.interop.errors import CheckpointError
from pit_jax.interop.layouts import score_layouts

Names = dict[str, str]  # The name of each tensor in the file, by its new name.

# Segments that only wrappers write, anywhere in a name: torch.compile, FSDP, checkpointing of
# activations, Fabric and DeepSpeed.
ANYWHERE = {
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_fpw_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
}
# First segments under which wrappers and Lightning modules have their network.
FIRST = {"module", "model", "net", "network", "backbone", "snn", "_model", "ema_model"}
# Parts of a Lightning module whose weights do not belong to the network.
COMPANION = re.compile(r"(criterion|loss|losses|loss_.*|.*_loss|.*_criterion|.*metrics?|.*_acc.*)")
# Entries that no layer here has: torch's own, and the number of averages of AveragedModel.
STORED = {"_extra_state"}


def unwrap_names(
    names: Iterable[str],
    scalars: Collection[str],
    prefix: str | None = None,
    ignore: Collection[str] = (),
) -> Names:
    """Return the names in a file without the prefixes and the own entries of wrappers.

    With `prefix`, only the names that begin with it are kept. Names in `ignore`, and those of a
    layer in `ignore`, are dropped. `scalars` are the names of single numbers: wrappers store some,
    such as `n_averaged`. Raises CheckpointError if a prefix or an ignored name does not exist, and
    if two names become equal.
    """
    found = {name: name for name in names if name.rpartition(".")[2] not in STORED}
    ignored: set[str] = set()
    found = _drop(found, ignore, ignored)
    if prefix:
        prefix = _remove_segments(prefix.rstrip("."))
        found = _select(found, prefix)
    found = _rename(found, _remove_segments)
    if prefix:
        found = _strip(found, prefix)
    while wrapper := _find_wrapper(found, scalars):
        found = _strip(found, wrapper)
    inner = _rename_inner(found)
    found = _drop(inner, ignore, ignored)
    if unknown := set(ignore) - ignored:
        raise CheckpointError(
            f"it has no {_list_some(sorted(unknown))} to ignore; it has {_list_some(found)}."
        )
    return found


def find_prefixes(names: Iterable[str]) -> dict[str, str]:
    """Return the first segments under which the names match a layout, with this layout."""
    prefixes = {}
    for first in dict.fromkeys(name.partition(".")[0] for name in names if "." in name):
        inner = [name.removeprefix(f"{first}.") for name in names if name.startswith(f"{first}.")]
        scores = score_layouts(inner)
        best = max(scores, key=lambda layout: scores[layout])
        if scores[best] > 0.5:
            prefixes[first] = best
    return prefixes


def _drop(found: Names, ignore: Collection[str], ignored: set[str]) -> Names:
    """Return the names that are not in `ignore`; add those of `ignore` that exist to `ignored`."""
    left = {}
    for name, old in found.items():
        hits = {each for each in ignore if name == each or name.startswith(f"{each}.")}
        ignored |= hits
        if not hits:
            left[name] = old
    return left


def _select(found: Names, prefix: str) -> Names:
    chosen = {
        name: old for name, old in found.items() if _remove_segments(name).startswith(f"{prefix}.")
    }
    if not chosen:
        firsts = dict.fromkeys(name.partition(".")[0] for name in found)
        raise CheckpointError(
            f"no name begins with the prefix {prefix!r}; names begin with {_list_some(firsts)}."
        )
    return chosen


def _strip(found: Names, prefix: str) -> Names:
    return {
        name.removeprefix(f"{prefix}."): old
        for name, old in found.items()
        if name.startswith(f"{prefix}.")
    }


def _find_wrapper(found: Names, scalars: Collection[str]) -> str | None:
    """Return the first segment of all names of the network's layers, if a wrapper added it."""
    layers = [
        name
        for name, old in found.items()
        # Wrappers store counters, such as n_averaged, next to the network.
        if not (("." not in name and old in scalars) or COMPANION.fullmatch(name.partition(".")[0]))
    ]
    firsts = {name.partition(".")[0] for name in layers}
    if len(firsts) != 1 or any("." not in name for name in layers):
        return None
    (first,) = firsts
    inner = [name.removeprefix(f"{first}.") for name in layers]
    # A small network may call its only layer `net`, so layers must remain.
    if first == "module" or (first in FIRST and all("." in name for name in inner)):
        return first
    return first if _score(inner) > _score(layers) else None


def _rename_inner(found: Names) -> Names:
    """Remove `module` inside names, as of DataParallel around a part, if a layout then matches."""
    if not any(".module." in name for name in found):
        return found
    # Containers of SpikingJelly have the same name, so only the layouts can decide.
    inner = [re.sub(r"\.module(?=\.)", "", name) for name in found]
    if _score(inner) > _score(found):
        return _rename(found, lambda name: re.sub(r"\.module(?=\.)", "", name))
    return found


def _rename(found: Names, change: Callable[[str], str]) -> Names:
    renamed: Names = {}
    for name, old in found.items():
        if (new := change(name)) in renamed:
            raise CheckpointError(
                f"{renamed[new]} and {old} are both {new} without the names of wrappers; give a "
                "prefix, or ignore one of them."
            )
        renamed[new] = old
    return renamed


def _remove_segments(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ANYWHERE) or name


def _score(names: Iterable[str]) -> float:
    return max(score_layouts(names).values())


def _list_some(names: Collection[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(show_name(name)[:80] for name in list(names)[:5]) + more
