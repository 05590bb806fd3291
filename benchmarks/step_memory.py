"""The memory of a training step on one device: python -m benchmarks.step_memory

Nothing is run: shapes are traced, and the step is compiled for this machine's CPU with XLA's
scheduler for least memory. E-SpikeFormer is not compiled, since that takes more than ten minutes.
Writes benchmarks/step_memory.json and prints it as a table. This file measures the configs of this
repository; training_memory.py measures the networks of Table 5, with the peak on a GPU.
"""

import json
import os
from pathlib import Path
from typing import Any

# Set before JAX is imported. The default scheduler of CPUs needs twice the memory.
os.environ["XLA_FLAGS"] = "--xla_cpu_scheduler_type=CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np

from train.config.cli import parse
from train.data import ArraySplit, Dataset
from train.program import build
from train.program.inputs import make_prepare
from train.program.state import create_state
from train.program.step import make_train_step, promote_to_float32
from train.run.environment import describe_environment

OUT = Path("benchmarks/step_memory.json")
MIB = 2**20
UNCOMPILED = ("e_spikeformer_pit",)
# The key of temporary memory in the results.
TEMPORARY = "compiled_beside_state_mib"
# Config, side of its images, classes, images on a device, remat, dtype.
ROWS = (
    ("cifar100", 32, 100, 128, "none", "float32"),
    ("cifar100", 32, 100, 128, "convolutions", "float32"),
    ("imagenet", 224, 1000, 32, "none", "float32"),
    ("imagenet", 224, 1000, 32, "none", "bfloat16"),
    ("imagenet", 224, 1000, 32, "convolutions", "float32"),
    ("imagenet", 224, 1000, 32, "blocks", "float32"),
    ("imagenet:sew", 224, 1000, 32, "none", "float32"),
    ("imagenet:sew", 224, 1000, 32, "blocks", "float32"),
    ("imagenet:e_spikeformer_pit", 224, 1000, 32, "none", "float32"),
    ("imagenet:e_spikeformer_pit", 224, 1000, 32, "blocks", "float32"),
)


def main() -> None:
    """Measure all rows, and print and save each."""
    rows = []
    for row in ROWS:
        rows.append(measure(*row))
        print(format_line(rows[-1]), flush=True)
        OUT.write_text(
            json.dumps({"environment": describe_environment(), "rows": rows}, indent=1) + "\n"
        )


def measure(name: str, side: int, classes: int, batch: int, remat: str, dtype: str) -> dict:
    """Return the memory of one device's step on `batch` images."""
    file, _, variant = name.partition(":")
    config = parse(
        ["", "--config", f"configs/{file}.py:{variant}" if variant else f"configs/{file}.py"]
    )[0]
    with config.unlocked():
        config.model.update({"remat": remat, "dtype": dtype})
    split = ArraySplit(np.zeros((2, side, side, 3), np.uint8), np.zeros(2, np.int32))
    dataset = Dataset(config.data.name, split, split, classes, (0.5,) * 3, (0.2,) * 3)
    model, loss = build.make_network(config, dataset), build.make_loss(config)
    optimizer, prepare = build.make_optimizer(config, 1000), make_prepare(config, dataset)
    key = jax.eval_shape(lambda: jax.random.key(0))
    fed = {
        "image": jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch,), jnp.int32),
    }
    images, labels = jax.eval_shape(prepare, key, fed)

    def first_state(key: Any, images: Any) -> Any:
        return create_state(model, optimizer, key, key, images, averaged=config.averaging > 0)

    state, _ = jax.eval_shape(first_state, key, images)

    def objective(params: Any, stats: Any, images: Any, labels: Any) -> Any:
        logits, _ = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return loss(promote_to_float32(logits), labels)

    def list_residuals(params: Any, *rest: Any) -> Any:
        return jax.vjp(lambda params: objective(params, *rest), params)[1]

    residuals = jax.eval_shape(list_residuals, state.params, state.batch_stats, images, labels)
    temporary = None
    if variant not in UNCOMPILED:
        step = jax.jit(make_train_step(model, optimizer, loss, prepare), donate_argnums=0)
        compiled = step.lower(state, fed).compile()
        temporary = round(compiled.memory_analysis().temp_size_in_bytes / MIB)
    return {
        "config": name,
        "neuron": config.neuron.name,
        "steps": config.num_steps,
        "images": batch,
        "dtype": dtype,
        "remat": remat,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "state_mib": round(count_bytes(state) / MIB),
        "kept_for_gradient_mib": round(count_bytes(residuals) / MIB),
        TEMPORARY: temporary,
    }


def count_bytes(tree: Any) -> int:
    """Return the bytes of the arrays of a tree, without random keys."""
    leaves = jax.tree.leaves(tree)
    plain = [x for x in leaves if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in plain)


def format_line(row: dict) -> str:
    """Return a row of the table in docs/guide/scaling.md."""
    temporary = row[TEMPORARY]
    return (
        f"| `{row['config']}` | {row['neuron']}, T={row['steps']} | {row['images']} | "
        f"{row['dtype']} | {row['remat']} | {row['state_mib']:,} | "
        f"{row['kept_for_gradient_mib']:,} | {'–' if temporary is None else f'{temporary:,}'} |"
    )


if __name__ == "__main__":
    main()
