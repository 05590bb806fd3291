"""The accuracy that a trained network loses if neurons fire from a, not a / 2 (Appendix A).

python -m benchmarks.threshold_one RUN [DATA_DIR]

It compiles the last checkpoint of a run of train.main, moves every first boundary from a / 2 to a,
runs both programs on the test split and writes benchmarks/threshold_one.json.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from pit_jax.inference import SpikingProgram
from pit_jax.inference.runtime import nodes
from train import data
from train.export import compile_run
from train.program.inputs import make_normalize
from train.run.environment import describe_environment
from train.run.reading import load_run_config
from train.run.restore import identify_checkpoint
from train.run.summary import format_title

OUT = Path(__file__).with_suffix(".json")


def main(run: Path, data_dir: str | None = None) -> None:
    """Measure both programs, and write and print the results."""
    config = load_run_config(run, data_dir)
    dataset = data.load(**config.data)
    program = compile_run.compile_checkpoint(config, identify_checkpoint(run, "last"), dataset)
    late = SpikingProgram(
        [
            replace(node, neuron=replace(node.neuron, first=node.neuron.step))
            if isinstance(node, nodes.Spikes)
            else node
            for node in program.nodes
        ],
        program.num_steps,
        "",
    )
    images, labels = make_normalize(dataset)(dataset.test.images), dataset.test.labels
    logits, counts = program.watch(images, "counts")
    late_logits, late_counts = late.watch(images, "counts")
    first = next(iter(counts))
    found = {
        "title": format_title(config),
        "samples": len(labels),
        "accuracy": float(np.mean(logits.argmax(-1) == labels)),
        "accuracy_threshold_one": float(np.mean(late_logits.argmax(-1) == labels)),
        "first_layer_counts_that_differ": float(np.mean(counts[first] != late_counts[first])),
        **{
            key: describe_environment()[key]
            for key in ("commit", "device", "processor", "python", "jax")
        },
    }
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
