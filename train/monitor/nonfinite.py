"""Reads the metrics of each step while the next one runs, and explains a step that is not finite.

The compiled step does not apply an update that is not finite (program/step.py). So reading the
metrics one step late is safe: the weights are still those before the bad step.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import UserError
from ..files import write_atomically
from ..program.diagnose import IMAGES, WEIGHTS
from ..program.program import Program
from ..program.state import Metrics, TrainState

FILE = "nonfinite.json"
LOWER_RATE = (
    "A lower config.learning_rate or some config.warmup_epochs may help, in another --workdir."
)
MOST_SAMPLES = 5  # How many samples a message lists; the file lists all.


class StepMetrics(NamedTuple):
    """The loss and accuracy of a finished step."""

    step: int
    loss: float
    accuracy: float


class Watch:
    """A reader of the metrics of a run, one step late, so that the device never waits.

    `skipped` steps were skipped before. If there are more than `skip`, UserError is raised with the
    message `explain(state, step)`; otherwise `note` reports each.
    """

    def __init__(
        self,
        explain: Callable[[TrainState, int], str],
        *,
        skip: int,
        skipped: int,
        note: Callable[[str], None],
    ) -> None:
        self._explain, self._note = explain, note
        self._skip, self._skipped = skip, skipped
        self._latest: tuple[int, Metrics] | None = None

    def look(self, state: TrainState, step: int, metrics: Metrics) -> StepMetrics | None:
        """Store the `metrics` of `step`; return those of the step before, None for the first step.

        Raises UserError if the step before is one skipped step too many.
        """
        done = self.settle(state)
        self._latest = step, metrics
        return done

    def settle(self, state: TrainState) -> StepMetrics | None:
        """Return the latest step after waiting for it; None if it was returned before."""
        if self._latest is None:
            return None
        (step, metrics), self._latest = self._latest, None
        values = jax.device_get(metrics)
        if (skipped := values["skipped"].item()) > self._skipped:
            if skipped > self._skip:
                raise UserError(self._explain(state, step))
            self._note(
                f"step {step} was skipped: its loss or gradient is not finite "
                f"({skipped} of at most {self._skip} in this run)"
            )
            self._skipped = skipped
        return StepMetrics(step, values["loss"].item(), values["accuracy"].item())


def check_start(
    state: TrainState, diagnose: Callable[[TrainState], str], samples: np.ndarray
) -> None:
    """Raise UserError if the state before the first step has values that are not finite.

    Scales that are initialized from a batch with NaN are NaN, and so is what they scale. `samples`
    are the indices of the first batch.
    """
    name = find_nonfinite({"params": state.params, "batch_stats": state.batch_stats})
    if name is None:
        return
    where = diagnose(state.replace(bad=jnp.zeros_like(state.bad)))
    cause, advice = "the images of the first batch are finite", _ADVICE[WEIGHTS]
    if where == IMAGES:
        few = ", ".join(map(str, samples[:MOST_SAMPLES]))
        cause = f"so have the images of the first batch (samples {few}, ...)"
        advice = _ADVICE[IMAGES]
    raise UserError(f"the initial {name} has values that are not finite; {cause}. {advice}")


def check_weights(state: TrainState, step: int, describe_saved: Callable[[], str]) -> None:
    """Raise UserError for weights that are not finite after `step`: no checkpoint may have them.

    An update can overflow after a finite loss and gradient, and neurons that do not spike can hide
    it from the next loss.
    """
    learned = {"params": state.params, "batch_stats": state.batch_stats}
    if name := find_nonfinite(jax.device_get(learned)):
        raise UserError(
            f"{name} is not finite after step {step}, whose loss and gradient were finite. "
            f"{describe_saved()}. {LOWER_RATE}"
        )


def advise_on_loss(split: str, state: TrainState) -> str:
    """Return what to do about a loss of the images `split` that is not finite."""
    if name := find_nonfinite(state.variables):
        return f"{name} is not finite either. {LOWER_RATE}"
    return (
        f"All weights are finite: look for NaN in the {split} images. If there is none, the loss "
        f"is too large for its dtype. {LOWER_RATE}"
    )


def find_nonfinite(tree: Any) -> str | None:
    """Return the name of the first array with a value that is not finite, or None."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        # A sum is NaN or infinite if a value is; in float64 finite values do not overflow.
        is_float = jnp.issubdtype(leaf.dtype, jnp.inexact)
        if is_float and not np.isfinite(np.sum(np.asarray(leaf), dtype=np.float64)):
            return jax.tree_util.keystr(path, simple=True, separator="/")
    return None


def advise(where: str, dtype: str | None = None) -> str:
    """Return what to do about a step, given its diagnosis and the dtype of the network."""
    found = next((text for cause, text in _ADVICE.items() if where.startswith(cause)), None)
    if found is None and str(dtype) == "float16":
        return (
            "float16 overflows above 65,504: config.model.dtype=bfloat16 or float32, in another "
            "--workdir, usually helps."
        )
    return found or (
        f"Its images and the weights before it are finite. {LOWER_RATE} config.skip=N skips up to "
        "N such steps."
    )


# Advice for causes that another learning rate would not remove.
_ADVICE = {
    IMAGES: (
        "Look for NaN and infinity in the data, and at what config.augment does; no setting of the "
        "training helps."
    ),
    WEIGHTS: (
        "Training started from weights that are not finite: check config.pretrained and the "
        "initializers."
    ),
}


def report_step(
    program: Program, workdir: Path, state: TrainState, step: int, *, write: bool = True
) -> tuple[str, str]:
    """Return the first cause that is not finite, and a text with step, epoch and samples.

    `write` all details to nonfinite.json.
    """
    where, samples = program.diagnose(state), program.samples(step - 1)
    epoch = (step - 1) // program.steps_per_epoch + 1
    found = {"step": step, "epoch": epoch, "first": where, "samples": samples.tolist()}
    if write:
        write_atomically(workdir / FILE, json.dumps(found, indent=2))
    few = ", ".join(map(str, samples[:MOST_SAMPLES]))
    return where, (
        f"step {step}, in epoch {epoch}, is not finite; the first that is not is {where}, on the "
        f"training samples {few}, ... ({workdir / FILE} has all)"
    )
