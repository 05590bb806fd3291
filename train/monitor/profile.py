"""A trace of some steps, in the folder of the run, for XProf or Perfetto."""

from pathlib import Path

import jax

from pit_jax.checks.bounds import each, set_bounds, whole

FOLDER = "profile"


def check_steps(name: str, steps: tuple[int, ...]) -> None:
    """Raise ValueError unless `steps` is empty, or the first and the last step."""
    each(whole(0))(name, steps)
    if steps and not (len(steps) == 2 and 1 <= steps[0] <= steps[1]):
        raise ValueError(
            f"{name} must be the first and the last step, counted from 1, got {tuple(steps)}."
        )


class Profile:
    """A trace of steps of a run, written to `workdir/profile`.

    `steps` is the first and the last step, counted from 1, or empty for no trace.
    """

    @set_bounds(steps=check_steps)
    def __init__(self, workdir: Path, steps: tuple[int, ...]) -> None:
        self._folder = workdir / FOLDER
        self._first, self._last = steps or (0, 0)
        self._tracing = False

    def before(self, step: int) -> None:
        """Start the trace if `step` is its first one."""
        if step == self._first:
            jax.profiler.start_trace(self._folder)
            self._tracing = True

    def after(self, step: int, results: object) -> None:
        """End the trace if `step` is its last one, after waiting for the `results` of the step."""
        if self._tracing and step == self._last:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """End a trace that is still running."""
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
