"""What a fuzzer needs: targets, and the verdict about one input.

A target is one reader of files, or one function of structured values. Each input must end as
*accepted*, and then the target checks the result, or as *refused* by an error of ours that names
the file or the key in at most three lines. Everything else is a finding: a traceback of another
package, a wrong result, a crash, a hang, or too much memory.

A module `tests/fuzz/targets_AREA.py` lists its targets:

    def write_zip(folder):              # good files, small and of every kind that the reader knows
        ...
        return [folder / "good.zip"]    # a folder may be listed too: one of its files is damaged

    def read_zip(path):                 # calls the reader as users do, and checks what it returns
        images = load(path)
        assert images.dtype == np.uint8 and images.shape[1:] == (32, 32, 3)

    def check_events(array):            # `array` was drawn by Hypothesis
        ...

    TARGETS = [
        FileTarget("zip of images", write_zip, read_zip),
        ValueTarget("event arrays", st.builds(...), check_events),
    ]

`names` is what a refusal must contain one of; by default the name of the file or of a parent folder
inside the target's own folder. `python -m tests.fuzz --only "zip of images" --minutes 1` runs one.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = (ROOT / "pit_jax", ROOT / "train", ROOT / "configs")
SECONDS, GIGABYTES = 10, 2
# Inputs in the quick tests, and of a target that takes over 0.1 s for one.
SHARE, SLOW_SHARE = 30, 8
MOST_LINES = 3


@dataclass(frozen=True)
class FileTarget:
    """A reader of files. `seconds` and `gigabytes` are its limits for one file.

    The quick tests try `share` files.
    """

    name: str
    write: Callable[[Path], Sequence[Path]]
    read: Callable[[Path], object]
    names: tuple[str, ...] = ()
    seconds: float = SECONDS
    gigabytes: float = GIGABYTES
    share: int = SHARE


@dataclass(frozen=True)
class ValueTarget:
    """A function of values that a Hypothesis strategy draws; a refusal must name one of `names`."""

    name: str
    strategy: Any
    check: Callable[[Any], object]
    names: tuple[str, ...] = ()
    seconds: float = SECONDS
    gigabytes: float = GIGABYTES
    share: int = SHARE


Target = FileTarget | ValueTarget


def find_fault(error: BaseException, names: Sequence[str]) -> str | None:
    """Return in a line why `error` is no refusal of ours; None if it is one.

    A refusal is a ValueError of our own, or that our own code raises, whose text has one of `names`
    and at most three lines.
    """
    where = traceback.extract_tb(error.__traceback__)
    last = where[-1] if where else None
    place = f"{Path(last.filename).name}:{last.lineno}" if last else "nowhere"
    text = str(error)
    if isinstance(error, AssertionError) and not _is_ours(last):
        return f"accepted with a wrong result ({text[:200] or place})"
    is_own = type(error).__module__.partition(".")[0] in ("pit_jax", "train")
    if not isinstance(error, ValueError) or not (is_own or _is_ours(last)):
        return f"{type(error).__name__} at {place}: {text[:200]}"
    if _find_cause(error, MemoryError):
        return f"it asked for more memory than there was, at {place}: {text[:200]}"
    if text.count("\n") >= MOST_LINES:
        return f"{text.count(chr(10)) + 1} lines at {place}: {text[:200]}"
    if names and not any(name in text for name in names):
        return f"the error names none of {', '.join(names)}, at {place}: {text[:200]}"
    return None


def _is_ours(frame: traceback.FrameSummary | None) -> bool:
    return frame is not None and any(Path(frame.filename).is_relative_to(each) for each in OURS)


def _find_cause(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, kind):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
