"""The axis of time of a network's values: none yet, one, or none after a mean over it."""

from enum import IntEnum

from pit_jax.inference.compiler.operations import Operation
from pit_jax.jaxprs import get_shape


class Stage(IntEnum):
    """The place of a value in time.

    An IMAGE is the same at all steps and has no axis of time yet. A STEP has one value at each
    step. A MEAN is the mean over all steps: nodes compute one step, and the logits are averaged
    last, so only operations that commute with a mean may follow it.
    """

    IMAGE = 0
    STEP = 1
    MEAN = 2

    @property
    def leading(self) -> int:
        """The number of axes before the shape of one sample at one step."""
        return 2 if self is Stage.STEP else 1


def find_stage(operation: Operation, before: Stage) -> Stage:
    """Return the stage of what an operation returns."""
    given, made = (get_shape(v[0]) for v in (operation.inputs, operation.outputs))
    params = operation.params
    match before, operation.name:
        case Stage.IMAGE, "broadcast_in_dim" if 1 not in params["broadcast_dimensions"]:
            return Stage.STEP
        case Stage.IMAGE, "stack" if params["axis"] == 1:
            return Stage.STEP
        case Stage.IMAGE, "reshape" if len(made) > 2 and made[1] == 1:
            return Stage.STEP
        # One step is its own mean.
        case Stage.STEP, "reshape" if given[1] == 1 and len(made) == 2:
            return Stage.MEAN
        case Stage.STEP, "squeeze" if 1 in params["dimensions"]:
            return Stage.MEAN
        case Stage.STEP, "reduce_sum" if 1 in params["axes"]:
            return Stage.MEAN
    return before
