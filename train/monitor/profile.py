"""A trace of some steps for XProf or Perfetto, in the folder of the run."""

from pathlib import Path

import jax

from ..config.bounds import set_bounds

FOLDER = "profile"


def check_steps(name: str, steps: tuple[int, ...]) -> None:
    """Raise ValueError unless these are the first and the last step, or none."""
    if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise ValueError(f"{name} is the first and the last step, from 1 on, got {tuple(steps)}.")


class Profile:
    """A trace of the steps `first` to `last` of a run, counted from 1, into `workdir/profile`.

    Without `steps` it does nothing.
    """

    @set_bounds(steps=check_steps)
    def __init__(self, workdir: Path, steps: tuple[int, ...]) -> None:
        self._folder = workdir / FOLDER
        self._first, self._last = steps or (0, 0)
        self._tracing = False

    def before(self, step: int) -> None:
        """Start the trace before its first step."""
        if step == self._first:
            jax.profiler.start_trace(self._folder)
            self._tracing = True

    def after(self, step: int, results: object) -> None:
        """End the trace after its last step, when the `results` of the step are there."""
        if self._tracing and step == self._last:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """End a trace that is still running."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
