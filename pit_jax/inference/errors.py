"""The errors of the compiler."""

from pit_jax.old_names import serve_old_names


class NotFoldable(ValueError):
    """Raised for a part of a network that no spiking program computes exactly.

    `problem` has the part and the reason, and `remedy` what to change. `path` is the path of the
    module, or empty if the part does not belong to one module.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy, self.path = problem, remedy, ""

    def __str__(self) -> str:
        return f"{self.problem} {self.remedy}"


class NotEqual(AssertionError):
    """Raised for a program whose binary spikes differ from the counts of its grid."""


serve_old_names(__name__)
