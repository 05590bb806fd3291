"""Check an installation: pit-jax check-install"""

import argparse
import os
import platform
import sys
from collections.abc import Sequence

import pit_jax
from pit_jax.arguments import Parser, start
from pit_jax.check_install.extras import EXTRAS, find_version, list_missing
from pit_jax.display import print_text
from pit_jax.signals import run_as_program

LIBRARIES = ("jax", "jaxlib", "flax", "jaxtyping", "numpy", "scipy")
# Files of drivers, with the extra of JAX for their devices.
DRIVERS = {"/dev/nvidiactl": "cuda13", "/dev/accel0": "tpu", "/dev/vfio/0": "tpu"}
EPILOG = """\
It takes seconds. The exit code is 0 if the training step ran and lowered the loss, else 1.

example: %(prog)s
"""


def main(words: Sequence[str] | None = None, prog: str = "pit-jax check-install") -> int:
    """Print the report and return its exit code."""
    about = "Report JAX's devices and the installed extras, and run a training step."
    parser = Parser(prog, about, EPILOG)
    return start(parser, sys.argv[1:] if words is None else words, run)


def run(args: argparse.Namespace) -> int:
    """Print versions, devices and extras, and the result of one training step."""
    del args
    system = f"{platform.system()} {platform.machine()}"
    print(f"pit_jax {pit_jax.__version__}, Python {platform.python_version()}, {system}")
    print(", ".join(f"{name} {find_version(name)}" for name in LIBRARIES), flush=True)
    # Imported late, so that a broken JAX is reported after the versions.
    import jax

    kinds = [device.device_kind for device in jax.devices()]
    print(f"backend {jax.default_backend()}: {len(kinds)} x {kinds[0]}")
    if advice := advise_backend(jax.default_backend()):
        print(advice)
    print(f"\n{format_extras()}\n", flush=True)
    return _report_step()


def advise_backend(backend: str) -> str:
    """Return what to install if this machine has an accelerator that JAX does not use."""
    found = [extra for file, extra in DRIVERS.items() if os.path.exists(file)]
    if backend != "cpu" or not found or os.environ.get("JAX_PLATFORMS"):
        return ""
    return f"there is a driver of an accelerator; to use it: pip install -U 'jax[{found[0]}]'"


def format_extras() -> str:
    """Return a line for each extra: installed, or what is missing and how to get it."""
    lines = []
    for name, (purpose, _) in EXTRAS.items():
        state = "installed"
        if missing := list_missing(name):
            state = f"pip install 'pit-jax[{name}]'  (missing: {', '.join(missing)})"
        lines.append(f"{name:<13} {purpose:<31} {state}")
    return "\n".join(lines)


def _report_step() -> int:
    from pit_jax.check_install.step import run_step

    step = run_step()
    lowered = step.after < step.before  # False for NaN too.
    print_text(
        f"one training step of PIT: loss {step.before:.3f} -> {step.after:.3f}, compiled in "
        f"{step.compile_seconds:.1f} s, run in {1000 * step.run_seconds:.1f} ms"
    )
    print("this installation works" if lowered else "error: the step did not lower the loss")
    return 0 if lowered else 1


if __name__ == "__main__":
    run_as_program(main)
