"""The results of benchmarks.gpu_evidence, each computed in a process of its own.

A run trains ResNet18 on Fashion-MNIST, padded to 32 x 32, as benchmarks.dig200 trains its rows. A
parity check trains for one epoch, then compares the devices. A row of memory is one of
benchmarks.training_memory. With `small` all have tiny sizes, on the digits.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import training_memory
from benchmarks.dig200 import Row, Trainer
from benchmarks.workload import Missing
from pit_jax import inference
from pit_jax.neurons.probe import neuron_probes
from train import data
from train.config import cli
from train.data import ArraySplit, Dataset
from train.program.pure import PureProgram, make_pure_program
from train.program.state import TrainState
from train.run.compile_cache import use_compile_cache
from train.run.environment import describe_environment

FIRST = "I-LIF 1x4"
ROWS = {
    FIRST: Row("ilif"),
    "LIF 4x1": Row("lif", {}, FIRST),
    "PIT paper 1x4": Row("paper", {}, FIRST),
    "PIT ours 1x4": Row("ours", {}, FIRST),
}
# In the order in which they are trained, the most important first.
ORDER = ("PIT ours 1x4", FIRST, "LIF 4x1", "PIT paper 1x4")
CHECKED = ("PIT ours 1x4", "LIF 4x1")  # Rows whose devices are compared.
PROBE, SPEED = "probe", "speed"
KEYS = {"model.name": "resnet18", "model.width": 64, "model.stem_stride": 1, "augment.pad": 4}
SMALL_KEYS = {
    "model.width": 4,
    "model.stages": "(1,)",
    "data.train_images": 1000,
    "batch_size": 50,
}
SIDE, SMALL_SIDE = 32, 12
TIMED_STEPS = 20
# A program is verified with the first number of test images; a CPU computes the second.
VERIFIED, COMPARED = 256, 64
# Without an epoch's time from the probe, this long. Importing, tracing and compiling take `START`.
START, CHECK, MEMORY = 35.0, 75.0, 45.0


class Plan(NamedTuple):
    """A result: `work` is run, parity or memory, of a row, and takes about `seconds`."""

    name: str
    work: str
    row: str
    seed: int = 0
    seconds: float = 0.0


def list_plans(
    *, small: bool, epochs: int, seeds: int, epoch_seconds: float = 0.0
) -> tuple[Plan, ...]:
    """Return all results, the most important first; an epoch takes `epoch_seconds` at T = 1."""

    def plan_run(row: str, seed: int) -> Plan:
        steps = 4 if ROWS[row].variant == "lif" else 1
        seconds = 0 if small else START + epochs * steps * epoch_seconds
        return Plan(f"{row}, epochs {epochs}, seed {seed}", "run", row, seed, seconds)

    rows = training_memory.SMOKE[:1] if small else training_memory.ROWS
    memory = [
        Plan(f"memory of {row}", "memory", str(row), seconds=0 if small else MEMORY)
        for row in rows
        if small or row.paper
    ]
    parity = [
        Plan(f"parity of {row}", "parity", row, seconds=0 if small else CHECK) for row in CHECKED
    ]
    first, *others = ([plan_run(row, seed) for row in ORDER] for seed in range(seeds))
    return (*first, *parity, *memory, *sum(others, []))


@use_compile_cache()
def compute(name: str, *, small: bool, epochs: int, seeds: int, folder: Path) -> dict[str, Any]:
    """Return the result called `name`; raise Missing if this machine cannot compute it."""
    load = partial(load_row, small=small, epochs=epochs, folder=folder)
    if name == PROBE:
        return probe(load(ORDER[0])[1])
    if name == SPEED:
        return measure_speed(Trainer(*load(ORDER[0])))
    plans = list_plans(small=small, epochs=epochs, seeds=seeds)
    plan = next(plan for plan in plans if plan.name == name)
    if plan.work == "memory":
        rows = training_memory.SMOKE if small else training_memory.ROWS
        row = next(row for row in rows if str(row) == plan.row)
        return training_memory.measure(row, run=small)
    config, dataset = load(plan.row)
    start, trainer = time.monotonic(), Trainer(config, dataset)
    if plan.work == "parity":
        return compare_devices(trainer, dataset)
    found = trainer.measure(trainer.train(plan.seed))
    stats = jax.devices()[0].memory_stats() or {}
    # With compilation, and while other processes use the device: not a measure of speed.
    seconds = round(time.monotonic() - start, 1)
    return {**found, "seconds": seconds, "peak": stats.get("peak_bytes_in_use")}


def make_flags(row: str, *, small: bool, epochs: int, folder: Path) -> list[str]:
    """Return the options of train.main for a row, whose images are padded in addition."""
    page = "digits" if small else "fashion_mnist"
    keys = SMALL_KEYS if small else KEYS | {"data.data_dir": folder}
    keys = keys | {"model.dtype": "bfloat16", "epochs": epochs, **ROWS[row].keys}
    return [
        *("--config", f"configs/{page}.py:{ROWS[row].variant}"),
        *(f"--config.{key}={value}" for key, value in keys.items()),
    ]


def load_row(row: str, *, small: bool, epochs: int, folder: Path) -> tuple[ConfigDict, Dataset]:
    """Return the config and the data of a row."""
    flags = make_flags(row, small=small, epochs=epochs, folder=folder)
    config, _ = cli.parse(["gpu_evidence", *flags])
    return config, pad_images(data.load(**config.data), SMALL_SIDE if small else SIDE)


def pad_images(dataset: Dataset, side: int) -> Dataset:
    """Return the data with black margins around the images, to squares of `side`."""

    def pad(split: Any) -> ArraySplit:
        more = side - split.images.shape[1]
        margin = (more // 2, more - more // 2)
        return replace(split, images=np.pad(split.images, ((0, 0), margin, margin, (0, 0))))

    return replace(dataset, train=pad(dataset.train), test=pad(dataset.test))


def probe(dataset: Dataset) -> dict[str, Any]:
    """Return the environment of this machine, after one product in bfloat16 on its device."""
    one = jnp.ones((8, 8), jnp.bfloat16)
    assert float((one @ one)[0, 0]) == 8
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "backend": jax.default_backend(),
        "data": repr(dataset),
        "environment": describe_environment(),
    }


def measure_speed(trainer: Trainer) -> dict[str, float]:
    """Return the seconds of an epoch without compilation; the cache keeps the compiled step."""
    state, order = trainer.start(0), trainer.order(0, 0)
    start = time.monotonic()
    state = jax.block_until_ready(trainer.step(state, trainer.samples, order))
    first, start = time.monotonic() - start, time.monotonic()
    for _ in range(TIMED_STEPS):
        state = trainer.step(state, trainer.samples, order)
    jax.block_until_ready(state)
    seconds = (time.monotonic() - start) / TIMED_STEPS
    return {
        "first_step_seconds": round(first, 1),
        "step_seconds": round(seconds, 5),
        "epoch_seconds": round(seconds * trainer.steps, 3),
        "images_per_second": round(trainer.config.batch_size / seconds, 1),
    }


def train_epoch(trainer: Trainer) -> TrainState:
    """Return the state of seed 0 after its first epoch."""
    state, order = trainer.start(0), trainer.order(0, 0)
    for _ in range(trainer.steps):
        state = trainer.step(state, trainer.samples, order)
    return state


def compare_devices(trainer: Trainer, dataset: Dataset) -> dict[str, Any]:
    """Compare a network that was trained for an epoch on this device and on its CPU.

    `program` compares the compiled network: with its grid on this device, bit for bit, and its
    spikes and logits with those on the CPU. `float32` and `bfloat16` compare the network itself.
    """
    here, cpu = jax.devices()[0], find_cpu()
    variables = jax.device_get(train_epoch(trainer).variables)
    pure = make_pure_program(trainer.config, dataset)
    images = np.asarray(pure.normalize(dataset.test.images[:VERIFIED]))
    few = images[:COMPARED]
    found: dict[str, Any] = {"images": len(images), "compared": len(few)}
    for dtype in ("float32", "bfloat16"):
        model = pure.model.clone(dtype=jnp.dtype(dtype))
        found[dtype] = count_flips(*(fire(model, variables, few, each) for each in (here, cpu)))
    found["program"] = compare_programs(pure, variables, images, (here, cpu))
    return found


def find_cpu() -> jax.Device:
    """Return the CPU of this machine; raise Missing if JAX may not use it."""
    try:
        return jax.devices("cpu")[-1]
    except RuntimeError as error:
        raise Missing(f"{error} (unset JAX_PLATFORMS)") from error


def fire(model: nn.Module, variables: Any, images: np.ndarray, device: jax.Device) -> Any:
    """Return the logits of a network on a device, and the integers of its layers."""

    @jax.jit
    def run(variables: Any, images: Any) -> Any:
        logits, sown = model.apply(variables, images, mutable=["intermediates"])
        layers = neuron_probes(sown["intermediates"])
        return logits.mean(axis=1), {name: layer["count"] for name, layer in layers.items()}

    return jax.device_get(run(*jax.device_put((variables, images), device)))


def compare_programs(
    pure: PureProgram, variables: Any, images: np.ndarray, devices: tuple[jax.Device, jax.Device]
) -> dict[str, Any]:
    """Return what `verify` finds on the first device, and the differences to the second."""
    model = pure.model.clone(dtype=jnp.float32)
    few, fired, reports = images[:COMPARED], [], []
    for device, verified in zip(devices, (images, few), strict=True):
        # Compiled for each device, since the arrays of a program stay on the one it first ran on.
        with jax.default_device(device):
            program = inference.compile(model, variables, few[:1], verify=False)
            reports.append(program.verify(verified))
            fired.append(jax.device_get((program(few), program.trace(few))))
    report, (here, there) = reports[0], fired
    return {
        "equal": bool(report),
        "report": str(report),
        **count_flips(here, there),
        "logits_equal": bool(np.array_equal(here[0], there[0])),
    }


def count_flips(here: Any, there: Any) -> dict[str, Any]:
    """Return the shares of spikes and of predictions that differ between two devices."""
    (logits, spikes), (others, other_spikes) = here, there
    layers: Mapping[str, float] = {
        name: float(np.mean(spikes[name] != other_spikes[name])) for name in spikes
    }
    changed = logits.argmax(axis=-1) != others.argmax(axis=-1)
    return {
        "flipped": float(np.mean(list(layers.values()))),
        "flipped_most": max(layers.values()),
        "predictions_changed": float(np.mean(changed)),
        "logits_differ_by": float(np.max(abs(logits.astype(float) - others.astype(float)))),
    }
