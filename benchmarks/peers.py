"""The libraries that are compared, the interpreter of each, and its settings."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pit_jax.tuning import KEEP, RESTARTED, SWITCH, TUNABLE

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Peer:
    """A library on one of its paths.

    Args:
        packages: the distributions whose versions the record names; the first one is imported.
        alone: run in the interpreter of the benchmark, not in the one with the other libraries.
        environment: variables of the process that runs it.
        note: what the path is.
    """

    packages: tuple[str, ...]
    alone: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def interpreter(self) -> Path:
        """The Python that has the library."""
        folder = Path(os.environ.get("BENCHMARK_PEERS", ROOT / ".venv-peers"))
        return Path(sys.executable) if self.alone else folder / "bin" / "python"


# Settings of the shell that would change what an entry measures.
SETTINGS = ("GLIBC_TUNABLES", "XLA_FLAGS", SWITCH, RESTARTED)
JAX = ("jax", "jaxlib", "flax")
# What PIT_JAX_TUNING=keep sets; peers get it in rows of their own.
KEPT = {"GLIBC_TUNABLES": ":".join(f"{k}={v}" for k, v in {TUNABLE: 1, **KEEP}.items())}
PEERS = {
    "pit_jax": Peer(("pit_jax", *JAX), alone=True, note="with all settings of pit_jax.tuning"),
    "pit_jax-kept": Peer(
        ("pit_jax", *JAX),
        alone=True,
        environment={"PIT_JAX_TUNING": "keep"},
        note="PIT_JAX_TUNING=keep: freed memory stays in the process",
    ),
    "pit_jax-untuned": Peer(
        ("pit_jax", *JAX),
        alone=True,
        environment={"PIT_JAX_TUNING": "off"},
        note="PIT_JAX_TUNING=off",
    ),
    "flax": Peer(("flax", *JAX), alone=True, note="nn.Conv, nn.BatchNorm and nn.relu, jit"),
    "pytorch": Peer(("torch",), note="eager"),
    "pytorch-kept": Peer(("torch",), environment=KEPT, note="eager, freed memory is kept"),
    "pytorch-compiled": Peer(("torch",), note="torch.compile"),
    "spikingjelly": Peer(("spikingjelly", "torch"), note="multi-step, eager"),
    "spikingjelly-kept": Peer(
        ("spikingjelly", "torch"),
        environment=KEPT,
        note="multi-step, eager, freed memory is kept",
    ),
    "spikingjelly-compiled": Peer(("spikingjelly", "torch"), note="multi-step under torch.compile"),
    "snntorch": Peer(("snntorch", "torch"), note="a loop over time, eager"),
    "norse": Peer(("norse", "torch"), note="a loop over time, eager"),
    "spyx": Peer(("spyx", *JAX), note="jit around its scan over time"),
    "jaxpike": Peer(("jaxpike", "equinox", *JAX), note="jit, layer by layer"),
}


def clean_environment() -> dict[str, str]:
    """Return the environment of this process without settings of XLA and of the allocator."""
    return {name: value for name, value in os.environ.items() if name not in SETTINGS}
