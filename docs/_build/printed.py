"""Write the printed form of a compiled run into docs/theory/inference.md.

python -m docs._build.printed RUN [DATA_DIR]

RUN is the folder of a run of configs/digits.py, DATA_DIR the folder of its data.
"""

import sys
from pathlib import Path

import jax.numpy as jnp

from docs._build.inference import PAGE, replace_block
from train import data
from train.export import compile_run
from train.program.inputs import make_normalize
from train.run.reading import load_run_config
from train.run.restore import identify_checkpoint


def format_run(run: Path, data_dir: str | None = None) -> str:
    """Return the program of the last checkpoint, its verification and costs on all test images."""
    config = load_run_config(run, data_dir)
    dataset = data.load(**config.data)
    program = compile_run.compile_checkpoint(config, identify_checkpoint(run, "last"), dataset)
    samples = dataset.test.take(range(len(dataset.test)))
    images = make_normalize(dataset)(jnp.asarray(samples["image"]))
    report = program.verify(images, samples["label"])
    parts = [program, report, program.costs(images)]
    return "```text\n" + "\n\n".join(map(str, parts)) + "\n```\n"


if __name__ == "__main__":
    text = format_run(Path(sys.argv[1]), *sys.argv[2:])
    PAGE.write_text(replace_block(PAGE.read_text(), "printed", text))
