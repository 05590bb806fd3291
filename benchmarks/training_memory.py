"""The memory of a training step by part, and its measured peak on a GPU:

python -m benchmarks.training_memory [--smoke] [--out FILE.json] [--together N] [--seconds N]

Each row has its own process, since a device reports one peak per process. `--together` processes
run at once, and none starts after `--seconds`. Each row is printed and written when it is done,
with the reason if it failed. On a CPU only the parts are computed, since a CPU's compiler needs
different memory. `--smoke` compiles and runs small networks on any device, and only prints them.
Writes benchmarks/training_memory.json. Needs pit_jax and optax. step_memory.py has the configs of
this repository, compiled for a CPU.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers import clean_environment
from pit_jax.arguments import path

OUT = Path("benchmarks/training_memory.json")
GB = 1e9
ROW_SECONDS = 150


class Row(NamedTuple):
    """A network, its neuron and its inputs, `images` squares of `side`; `paper` is Table 5's GB."""

    network: str
    neuron: str
    steps: int
    images: int
    side: int = 32
    classes: int = 10
    optimizer: str = "sgd"
    dtype: str = "float32"
    remat: str = "none"
    paper: float | None = None

    def __str__(self) -> str:
        special = [x for x in (self.dtype, f"remat {self.remat}") if x not in USUAL]
        return " ".join(
            [self.network, self.neuron, f"T={self.steps}", f"{self.images} images", *special]
        )


USUAL = ("float32", "remat none")
# ImageNet's batch is 256 on eight GPUs (Sec. D.2); its optimizer and CIFAR's are those of Table 6.
imagenet = partial(Row, images=32, side=224, classes=1000, optimizer="adamw")
ROWS = (
    Row("resnet18", "LIF", 4, 128, paper=2.21),
    Row("resnet18", "PIT", 1, 128, paper=2.43),
    imagenet("sew_resnet18", "PIT", 1, paper=17.87),
    imagenet("sew_resnet18", "IF", 4, paper=13.65),
    Row("resnet18", "PIT", 4, 128),
    Row("resnet18", "PIT", 1, 128, dtype="bfloat16"),
    Row("resnet18", "PIT", 4, 128, remat="blocks"),
    Row("resnet19", "LIF", 4, 128, paper=4.45),
    Row("resnet19", "PIT", 1, 128, paper=4.70),
    imagenet("sew_resnet34", "PIT", 1, paper=24.66),
    imagenet("sew_resnet34", "IF", 4, paper=18.86),
)
SMOKE = (
    Row("resnet8", "PIT", 1, 8, side=8, remat="blocks"),
    Row("resnet8", "LIF", 2, 8, side=8, optimizer="adamw", dtype="bfloat16"),
)


def measure(row: Row, run: bool) -> dict[str, Any]:
    """Return the parts of a row; with `run`, or on a GPU, the compiler's figures and peak too."""
    import jax
    import jax.numpy as jnp
    import optax

    from pit_jax import models
    from pit_jax.analysis.memory import training_memory
    from pit_jax.neurons import IF, LIF, PIT
    from train.program.losses import cross_entropy
    from train.program.optim import adamw, sgd
    from train.run.environment import describe_environment

    neuron: Any = {"LIF": LIF, "PIT": partial(PIT, levels=4), "IF": IF}[row.neuron]
    model = models.create(
        row.network,
        num_classes=row.classes,
        neuron=neuron,
        num_steps=row.steps,
        dtype=jnp.dtype(row.dtype),
        remat=row.remat,
    )
    make = {"sgd": sgd, "adamw": adamw}[row.optimizer]
    optimizer: optax.GradientTransformation = make(
        optax.constant_schedule(0.01), momentum=0.9, weight_decay=5e-4
    )
    images = jax.ShapeDtypeStruct((row.images, row.side, row.side, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((row.images,), jnp.int32)
    memory = training_memory(
        model, images, labels, loss=cross_entropy, optimizer_init=optimizer.init
    )
    result: dict[str, Any] = {
        "name": str(row),
        **row._asdict(),
        "parts": memory.parts,
        "total": memory.total,
        "environment": describe_environment(),
    }
    if run or jax.default_backend() == "gpu":
        result |= run_on_device(model, optimizer, images, labels)
    return result


def run_on_device(model: Any, optimizer: Any, images: Any, labels: Any) -> dict[str, Any]:
    """Return the memory of two steps.

    The weights are constants from the host: a program that initializes them could set the peak.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from train.program.losses import cross_entropy
    from train.program.state import create_state
    from train.program.step import Batch, make_train_step

    def prepare(key: Any, batch: Batch) -> tuple[Any, Any]:
        return batch["image"].astype(jnp.float32) / 255, batch["label"]

    key = jax.random.key(0)
    fed = {"image": jax.ShapeDtypeStruct(images.shape, jnp.uint8), "label": labels}
    create = partial(create_state, model, optimizer, key, key)
    state, _ = jax.eval_shape(create, images)
    start = time.perf_counter()
    step = jax.jit(make_train_step(model, optimizer, cross_entropy, prepare), donate_argnums=0)
    compiled = step.lower(state, fed).compile()
    seconds = time.perf_counter() - start
    device = jax.devices()[0]
    # Compilation tries algorithms of convolutions, which takes memory as well.
    compiling = (device.memory_stats() or {}).get("peak_bytes_in_use")

    def make_constant(x: Any) -> Any:
        return jax.device_put(np.full(x.shape, 0.01, x.dtype))

    batch = jax.tree.map(make_constant, fed)
    state = jax.tree.map(make_constant, state.replace(key=None)).replace(key=key)
    for _ in range(2):
        state, _ = compiled(state, batch)
    jax.block_until_ready(state.params)
    stats, analysis = device.memory_stats() or {}, compiled.memory_analysis()
    sizes = ("argument", "output", "alias", "temp", "generated_code")
    return {
        "compile_seconds": round(seconds, 1),
        "compiler": {size: getattr(analysis, f"{size}_size_in_bytes") for size in sizes},
        "peak_compiling": compiling,
        "peak": stats.get("peak_bytes_in_use"),
        "in_use_after": stats.get("bytes_in_use"),
    }


def run_process(index: int, smoke: bool, until: float) -> dict[str, Any]:
    """Return a row, measured in its own process."""
    row = (SMOKE if smoke else ROWS)[index]
    if time.monotonic() > until:
        return {"name": str(row), "failed": "not started: no time left"}
    command = [sys.executable, "-m", "benchmarks.training_memory", f"--row={index}"]
    env = {**clean_environment(), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        found = subprocess.run(
            command + ["--smoke"] * smoke,
            env=env,
            capture_output=True,
            text=True,
            timeout=ROW_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"name": str(row), "failed": f"took more than {ROW_SECONDS} s"}
    if found.returncode:
        return {"name": str(row), "failed": found.stderr.strip()[-2000:]}
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return result


def format_line(result: dict[str, Any]) -> str:
    """Return the line that is printed for a row, in GB."""
    if "failed" in result:
        return f"{result['name']}: failed: {result['failed']}"
    numbers = [f"{part} {size / GB:.3f}" for part, size in result["parts"].items()]
    numbers.append(f"total {result['total'] / GB:.2f} GB")
    if result.get("peak"):
        numbers.append(
            f"peak {result['peak'] / GB:.2f} (compiling {result['peak_compiling'] / GB:.2f})"
        )
    if "compiler" in result:
        compiler = result["compiler"]
        numbers.append(f"compiler {(compiler['argument'] + compiler['temp']) / GB:.2f}")
        numbers.append(f"compiled in {result['compile_seconds']} s")
    if result["paper"]:
        numbers.append(f"paper {result['paper']}")
    return f"{result['name']} on {result['environment']['device']}: {', '.join(numbers)}"


def main() -> None:
    """Measure all rows, each in its own process, and print and save them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=path, default=OUT)
    parser.add_argument("--together", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--row", type=int)
    args = parser.parse_args()
    rows = SMOKE if args.smoke else ROWS
    if args.row is not None:
        print(json.dumps(measure(rows[args.row], run=args.smoke)))
        return
    results: dict[int, dict[str, Any]] = {}
    until = time.monotonic() + args.seconds
    with ThreadPoolExecutor(args.together) as pool:
        tasks = {pool.submit(run_process, i, args.smoke, until): i for i in range(len(rows))}
        for done in as_completed(tasks):
            results[tasks[done]] = done.result()
            print(format_line(done.result()), flush=True)
            if not args.smoke:
                in_order = [results[i] for i in sorted(results)]
                args.out.write_text(json.dumps(in_order, indent=1) + "\n")


if __name__ == "__main__":
    main()
