"""The limits of a training step, and where its time goes: python -m benchmarks.roofline [--small]

For ResNet18 on CIFAR shapes with ReLU, PIT 1×4 and LIF at T = 4: FLOPs and bytes as the compiler
counts them, the time of a step, and its time by kind of operation from JAX's profiler. The profile
is of one core: on more, XLA starts a convolution and continues, and its time is not in the profile.
Each is measured in this tree with all settings of `pit_jax.tuning`, and in the commit `BEFORE` as
it was, each in its own process. The limits are those of this machine: the fastest product of
matrices and the fastest copy.

Writes benchmarks/roofline.json. `python -m docs._build.performance` makes the tables of
docs/guide/benchmarks.md from it. `--small` uses a small network, for tests.
"""

import argparse
import gzip
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).with_suffix(".json")
# The last commit before norms and neurons had gradients of their own, and before the settings.
BEFORE = "e947b21"
# The neuron, its steps, and the name in tables.
NETWORKS = {"ReLU": ("ReLU", 1), "PIT 1×4": ("PIT", 1), "LIF 4×1": ("LIF", 4)}
FULL = {"network": "resnet18", "width": 64, "images": 32, "side": 32}
SMALL = {"network": "resnet8", "width": 4, "images": 2, "side": 8}
STEPS = 5
KINDS = ("convolutions and products", "norms", "neurons", "copies", "rest")
INSTRUCTION = re.compile(r"\s*(?:ROOT )?%(\S+) = .*?\s([\w-]+)\(.*")
NEURON = re.compile(r"/(ReLU|PIT|LIF)_\d+/")


def main() -> None:
    """Measure limits, networks and commits; write and print the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        prepare_process(fields := json.loads(args.child))
        print(json.dumps(measure_step(**fields)))
        return
    size = SMALL if args.small else FULL
    with tempfile.TemporaryDirectory() as folder:
        trees = {"before": extract(BEFORE, Path(folder)), "after": ROOT}
        rows = [
            {"when": when, "name": name}
            | run_child(tree, "step", neuron=neuron, steps=steps, **size)
            | run_child(tree, "profile", neuron=neuron, steps=steps, **size)
            for name, (neuron, steps) in NETWORKS.items()
            for when, tree in trees.items()
            if tree
        ]
    record = {
        "before": BEFORE,
        "environment": run_child(ROOT, "environment"),
        "load": os.getloadavg()[0],
        "size": size,
        "limits": run_child(ROOT, "limits", small=args.small),
        "rows": rows,
    }
    args.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(args.out.read_text())


def extract(commit: str, folder: Path) -> Path | None:
    """Write the package of a commit to `folder`; return None in a tree without this commit."""
    found = subprocess.run(["git", "archive", commit, "pit_jax"], cwd=ROOT, capture_output=True)
    if found.returncode:
        print(f"commit {commit} is not in this repository and is not measured", file=sys.stderr)
        return None
    tarfile.open(fileobj=io.BytesIO(found.stdout)).extractall(folder, filter="data")
    return folder


def run_child(tree: Path, what: str, **fields: Any) -> dict[str, Any]:
    """Run a measurement with the package of `tree` in its own process."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(tree)}
    command = [sys.executable, __file__, "--child", json.dumps({"what": what, **fields})]
    found = subprocess.run(command, env=env, cwd=tree, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return result


def prepare_process(fields: Mapping[str, Any]) -> None:
    """Apply the settings that must be there before JAX is imported."""
    try:
        from pit_jax.tuning import release_signals, restart_tuned
    except ImportError:  # The commit before has no settings.
        pass
    else:
        restart_tuned()
        release_signals()
    if fields["what"] == "profile" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure_step(what: str, **fields: Any) -> dict[str, Any]:
    """Return what one process measures."""
    if what == "limits":
        return measure_limits(**fields)
    if what == "environment":
        from train.run.environment import describe_environment

        return describe_environment()
    found = measure_network(**fields)
    if what == "profile":
        return {"kinds": found["kinds"], "seconds_on_one_core": found["seconds"]}
    return {name: value for name, value in found.items() if name != "kinds"}


def measure_limits(small: bool) -> dict[str, float]:
    """Return the GFLOP/s of a product of two large matrices, and the GB/s of copies."""
    import jax
    import jax.numpy as jnp

    side, mib = (256, 4) if small else (3072, 256)
    a = jnp.ones((side, side))
    product = jax.jit(jnp.dot)
    found = {"gflops": 2 * side**3 / find_fastest(lambda: product(a, a)) / 1e9}
    # In place: no new memory is mapped. A copy reads and writes every byte.
    copy = jax.jit(lambda x: x + 1, donate_argnums=0)
    for name, size in (("memory_gbs", mib), ("cache_gbs", mib // 32 or 1)):
        held = [jnp.ones(size * 2**18)]
        seconds = find_fastest(lambda held=held: held.append(copy(held.pop())) or held[0])
        found[name] = 2 * size * 2**20 / seconds / 1e9
    return found


def find_fastest(run: Callable[[], Any]) -> float:
    """Return the shortest of some times of `run`, in seconds, after a first run."""
    import jax

    times = []
    for _ in range(16):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return min(times[1:])


def measure_network(
    neuron: str, steps: int, network: str, width: int, images: int, side: int
) -> dict[str, Any]:
    """Return counts, times and profile of a training step of the package on the path."""
    import jax
    import jax.numpy as jnp
    import optax

    from pit_jax import models, neurons

    model = models.create(
        network,
        num_classes=10,
        neuron=getattr(neurons, neuron),
        num_steps=steps,
        width=width,
    )
    x = jax.random.normal(jax.random.key(0), (images, side, side, 3))
    y = jnp.arange(images) % 10
    optimizer = optax.sgd(0.1, momentum=0.9)

    def train(state: Any, x: Any, y: Any) -> Any:
        params, stats, moments = state

        def objective(params: Any) -> Any:
            logits, updates = model.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits.mean(axis=1), y)
            return losses.mean(), updates["batch_stats"]

        (loss, stats), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, moments = optimizer.update(grads, moments)
        return (optax.apply_updates(params, updates), stats, moments), loss

    # This program runs once: without optimizations it compiles in half of the time.
    quick = {"xla_backend_optimization_level": 0}
    init = jax.jit(partial(model.init, train=True), compiler_options=quick)
    variables = init(jax.random.key(0), x)
    params = variables["params"]
    state = params, variables["batch_stats"], optimizer.init(params)
    step = jax.jit(train, donate_argnums=0, compiler_options=find_options())
    compiled = step.lower(state, x, y).compile()
    counts = compiled.cost_analysis()
    seconds = []
    for _ in range(2 + (STEPS if images > 2 else 1)):
        start = time.perf_counter()
        state, loss = compiled(state, x, y)
        jax.block_until_ready(state)
        seconds.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            state, loss = compiled(state, x, y)
            jax.block_until_ready(state)
        events = read_events(Path(folder))
    return {
        "gflop": counts["flops"] / 1e9,
        "gb": counts["bytes accessed"] / 1e9,
        "temporaries": compiled.memory_analysis().temp_size_in_bytes,
        "seconds": statistics.median(seconds[2:]),
        "kinds": sum_by_kind(events, find_kinds(compiled.as_text())),
    }


def find_options() -> Mapping[str, Any] | None:
    """Return the compiler options of training, or None before there were any."""
    try:
        from pit_jax.tuning import compiler_options
    except ImportError:
        return None
    return compiler_options("train")


def read_events(folder: Path) -> list[tuple[str, float]]:
    """Return the names and seconds of the events of a profile."""
    (file,) = folder.rglob("*.trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    return [(each["name"], each["dur"] / 1e6) for each in events if each.get("ph") == "X"]


def sum_by_kind(events: list[tuple[str, float]], kinds: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds of all operations of each kind; other events are skipped."""
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0.0))
    for name, seconds in events:
        if name in kinds:
            found[kinds[name]] += seconds
    return dict(found)


def find_kinds(program: str) -> dict[str, str]:
    """Return the kind of each instruction of the main computation of a compiled program.

    A fusion of several operations has the name of its last one. So a norm that is computed in the
    fusion of a neuron counts as the neuron's.
    """
    head, main = program.split("\nENTRY ", 1)
    bodies = {text.split(" ", 1)[0]: text for text in head.split("\n%")}
    found = {}
    for line in main.splitlines():
        if not (instruction := INSTRUCTION.match(line)):
            continue
        name, opcode = instruction.groups()
        called = re.search(r"calls=%([\w.-]+)", line)
        text = line + (bodies.get(called[1], "") if called else "")
        found[name] = find_kind(line, text, opcode)
    return found


def find_kind(line: str, text: str, opcode: str) -> str:
    """Return the kind of an instruction from its line, and its line with what it calls."""
    if re.search(r"\s(convolution|dot)\(", text):
        return "convolutions and products"
    if NEURON.search(line) or "while" in opcode:
        return "neurons"
    if re.search(r"/(norm\w*|shortcut_norm)/", line):
        return "norms"
    # Such copies, which change the order of axes for the next operation, have no name of a layer.
    return "copies" if "op_name" not in line and "copy" in line else "rest"


if __name__ == "__main__":
    main()
