"""The event-driven runtime against dense JAX and PyTorch: python -m benchmarks.event_driven WORKDIR

WORKDIR is a run of configs/fashion_mnist.py; run this in the environment of `make test-peers`. A
network and single layers are timed at increasing firing rates; the network's rates are changed by
scaling its thresholds. All calls take turns in one process. JAX uses its default cores, PyTorch its
default or one, whichever is faster. Writes event_driven.json next to this file and the figure
docs/images/event_driven.png, and prints the cases in which the runtime is slower.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
import jax
import jax.numpy as jnp
import numba
import numpy as np
import torch
from ml_collections import ConfigDict

from benchmarks import torch_layers as peers
from benchmarks.event_driven_figure import draw
from pit_jax.inference import SpikingProgram, compile
from pit_jax.inference.event_driven.jit import count_cores
from pit_jax.inference.event_driven.measure import Case, OneLayer, time_calls
from pit_jax.inference.runtime import nodes
from pit_jax.paths import read_path
from train import data
from train.program import build
from train.program.inputs import make_normalize
from train.run import restore
from train.run.environment import describe_environment
from train.run.reading import read_config

BATCHES, ROUNDS, SECONDS = (1, 16), 7, 0.03
RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Factors of the network's thresholds; lower thresholds fire more.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SAMPLES = 512
LAYERS = {
    "linear 2048 to 1024": Case(1, 1, 2048, 1024),
    "3x3, 32 to 32, 14x14": Case(14, 3, 32, 32),
    "3x3, 64 to 64, 7x7": Case(7, 3, 64, 64),
    "3x3, 128 to 128, 4x4": Case(4, 3, 128, 128),
    "3x3, 256 to 256, 8x8": Case(8, 3, 256, 256),
    "3x3, stride 2, 32 to 64, 14x14": Case(14, 3, 32, 64, stride=2),
    "1x1, 128 to 256, 8x8": Case(8, 1, 128, 256),
    "depthwise 3x3, 64, 14x14": Case(14, 3, 64, 64, depthwise=True),
}

Call = Callable[[], object]


def main(argv: Sequence[str]) -> None:
    """Measure the network and the layers, and write results and figure."""
    workdir = read_path(argv[0])
    network = measure_network(workdir)
    layers = {
        f"{name}, batch {batch}": measure_layer(case, batch)
        for name, case in LAYERS.items()
        for batch in BATCHES
    }
    result = {
        "network": network,
        "layers": layers,
        "losses": list(list_losses(network, layers)),
        "environment": describe_environment()
        | {
            "cores": count_cores(),
            "torch": torch.__version__,
            "torch threads": torch.get_num_threads(),
        }
        | {"torch int8": torch.backends.quantized.engine, "numba": numba.__version__}
        | {"load average at the end": [round(x, 2) for x in os.getloadavg()]},
    }
    file = Path(__file__).with_suffix(".json")
    file.write_text(json.dumps(result, indent=1) + "\n")
    draw(result, Path(__file__).parents[1] / "docs" / "images" / "event_driven.png")
    print("\n".join(result["losses"]))


def measure_network(workdir: Path) -> dict[str, Any]:
    """Return times of a trained network, at its own rates and with other thresholds."""
    config = ConfigDict(read_config(workdir))
    dataset = data.load(**config.data)
    model, variables = build.make_network(config, dataset), restore.load_variables(workdir)
    test = dataset.test
    x = np.asarray(make_normalize(dataset)(jnp.asarray(test.images[:SAMPLES])), np.float32)
    program = compile(model, variables, x)
    floats = jax.jit(lambda x: model.apply(variables, x).mean(1))
    reached = np.asarray(floats(x)).argmax(-1)
    in_float32, in_int8 = peers.Float32(program.nodes), peers.Int8(program.nodes, abs(x).max())
    with torch.inference_mode():
        agree = {
            name: float((module(peers.convert_images(x)).numpy().argmax(-1) == reached).mean())
            for name, module in (("PyTorch float32", in_float32), ("PyTorch int8", in_int8))
        }
    agree["event-driven"] = float((program.event_driven()(x).argmax(-1) == reached).mean())
    print("share of predictions equal to the trained network's:", agree)

    result: dict[str, Any] = {
        "name": "resnet8, 32 channels, trained on Fashion-MNIST, PIT with 4 levels, 1 step",
        "samples": SAMPLES,
        "agree": agree,
        "rates": {path: round(rate, 4) for path, rate in _measure_rates(program, x).items()},
        "batches": {},
    }
    for batch in BATCHES:
        samples = [x[i : i + batch] for i in range(0, SAMPLES, batch)]
        dense: dict[str, Call] = {
            "JAX float32": cycle_samples(
                samples, lambda x: floats(x).block_until_ready(), jnp.asarray
            ),
            "JAX program.grid": cycle_samples(
                samples, lambda x: program.grid(x).block_until_ready(), jnp.asarray
            ),
        }
        for name, module in (("PyTorch float32", in_float32), ("PyTorch int8", in_int8)):
            graph = peers.freeze(module, peers.convert_images(samples[0]))
            for threads in sorted({1, count_cores()}):
                call = limit_threads(graph, threads)
                label = f"{name}, {threads} threads"
                dense[label] = cycle_samples(samples, call, peers.convert_images)
        result["batches"][str(batch)] = _time_network(program, dense, samples, x)
        print(batch, json.dumps(result["batches"][str(batch)]), flush=True)
    return result


def _time_network(
    program: SpikingProgram, dense: dict[str, Call], samples: list[np.ndarray], x: np.ndarray
) -> dict[str, Any]:
    own = program.event_driven()
    assert np.array_equal(own(x), program(x))
    calls = {
        **dense,
        "event-driven": cycle_samples(samples, own),
        "event-driven on one thread": cycle_samples(samples, program.event_driven(threads=1)),
    }
    taken, quickest = measure_times(calls), measure_times(calls, 0.1)
    curve: dict[str, list[float]] = {"scale": [], "rate": [], "event-driven": []}
    for scale in SCALES:
        other = scale_thresholds(program, scale)
        runtime = other.event_driven()
        assert np.array_equal(runtime(x), other(x))
        curve["scale"].append(scale)
        curve["rate"].append(round(float(np.mean(list(_measure_rates(other, x).values()))), 4))
        taken_here = measure_times({"": cycle_samples(samples, runtime)}, 0.1)
        curve["event-driven"] += taken_here.values()
    return {
        "own rate": round(float(np.mean(list(_measure_rates(program, x).values()))), 4),
        "microseconds": taken,
        "microseconds of the quickest tenth": quickest,
        # From the quickest tenth, which other work on the machine disturbs least.
        "times faster": {
            name: round(value / quickest["event-driven"], 2)
            for name, value in quickest.items()
            if not name.startswith("event-driven")
        },
        "at other thresholds": curve,
    }


def scale_thresholds(program: SpikingProgram, scale: float) -> SpikingProgram:
    """Return the program with the thresholds of its neurons times `scale`."""

    def scale_node(node: Any) -> Any:
        if not isinstance(node, nodes.Spikes):
            return node
        first = np.maximum(np.rint(node.neuron.first * scale), 1).astype(np.int32)
        neuron = replace(node.neuron, first=first, step=2 * first, drop=2 * first)
        return replace(node, neuron=neuron)

    return SpikingProgram([scale_node(node) for node in program.nodes], program.num_steps, "")


def _measure_rates(program: SpikingProgram, x: np.ndarray) -> dict[str, float]:
    """Return the share of neurons of each layer that fire at all."""
    return {path: float((np.asarray(k) != 0).mean()) for path, k in program.counts(x).items()}


def measure_layer(case: Case, batch: int) -> dict[str, Any]:
    """Return the times of one layer by rate, in microseconds; event-driven in one thread."""
    synapse = case.make_synapse()
    weight, (padding, _) = synapse.weight[0], synapse.padding[0]
    kernel = jnp.asarray(weight, jnp.float32)
    jitted = jax.jit(
        partial(
            jax.lax.conv_general_dilated,
            window_strides=(case.stride,) * 2,
            padding=synapse.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=synapse.groups,
        )
    )
    in_float32, in_int8 = peers.make_convolution(weight, case.stride, padding, synapse.groups)
    row: dict[str, Any] = {"rate": list(RATES), "microseconds": {}}
    for rate in RATES:
        spikes = case.draw_spikes(batch, rate)
        one, x = OneLayer(synapse, spikes), jnp.asarray(spikes, jnp.float32)
        floats, eights = peers.convert_counts(spikes)
        one(dense=False)
        assert np.array_equal(one.currents, jitted(x, kernel)), case
        calls = {
            "event-driven": lambda one=one: one(dense=False),
            "all inputs": lambda one=one: one(dense=True),
            "JAX float32": lambda x=x: jitted(x, kernel).block_until_ready(),
        }
        for threads in sorted({1, count_cores()}):
            for name, call, given in (
                ("PyTorch float32", in_float32, floats),
                ("PyTorch int8", in_int8, eights),
            ):
                calls[f"{name}, {threads} threads"] = partial(limit_threads(call, threads), given)
        taken = measure_times(calls)
        for name, value in taken.items():
            row["microseconds"].setdefault(name, []).append(value)
    print(case, batch, row["microseconds"], flush=True)
    return row


def list_losses(network: dict[str, Any], layers: dict[str, Any]) -> Any:
    """Yield a sentence for each case in which a dense implementation is faster."""
    for batch, row in network["batches"].items():
        for name, ratio in row["times faster"].items():
            if ratio < 1:
                yield f"the network at batch {batch} takes {1 / ratio:.1f} times as long as {name}"
    for layer, row in layers.items():
        own = row["microseconds"]["event-driven"]
        for name in ("JAX float32", "PyTorch float32", "PyTorch int8"):
            lost = [
                r for r, a, b in zip(row["rate"], own, row["microseconds"][name], strict=True)
                if a > b
            ]  # fmt: skip
            if lost:
                yield f"{layer}: slower than {name} at rates of at least {min(lost):.0%}"


def cycle_samples(
    samples: list[Any], call: Callable[[Any], object], convert: Any = np.asarray
) -> Call:
    """Return a function that calls `call` on the next sample each time; they are converted once."""
    ready, turn = [convert(x) for x in samples], iter(range(10**9))
    return lambda: call(ready[next(turn) % len(ready)])


def limit_threads(call: Callable[[Any], Any], threads: int) -> Callable[[Any], Any]:
    """Return `call` in PyTorch's inference mode, on `threads` threads."""

    @torch.inference_mode()
    def call_limited(x: Any) -> Any:
        torch.set_num_threads(threads)
        return call(x)

    return call_limited


def measure_times(calls: dict[str, Call], share: float = 0.5) -> dict[str, float]:
    """Return the quantile `share` of each call's time in microseconds; the calls take turns.

    A call that was timed with several numbers of threads also has an entry with its fastest time.
    """
    taken = time_calls(*calls.values(), rounds=ROUNDS, seconds=SECONDS)
    rows = {
        name: round(1e6 * float(np.quantile(value, share)), 1)
        for name, value in zip(calls, taken, strict=True)
    }
    for name in list(rows):
        whole = name.partition(",")[0]
        rows[whole] = min(rows[name], rows.get(whole, rows[name]))
    return rows


if __name__ == "__main__":
    # PyTorch's quantized tensors and traces are deprecated and warn at every use.
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
