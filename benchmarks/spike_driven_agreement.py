"""The agreement of programs of binary spikes with trained networks, on whole test sets.

python -m train.export --workdir RUN --format directory         # for every run, and optionally
python -m train.export --workdir RUN --format directory --weights int8 --out RUN/export/int8
python -m benchmarks.spike_driven_agreement RUN [RUN ...]

The last command collects the proofs of all exports into benchmarks/spike_driven_agreement.json.
"""

import json
import re
import sys
from pathlib import Path

from pit_jax.paths import read_path

OUT = Path(__file__).with_suffix(".json")
FROM_EXPORT = ("title", "data", "seed", "checkpoint", "step", "commit_of_training")


BITS = ("float32", "int16", "int8")


def read_exports(run: Path) -> list[dict]:
    """Return the results of a run's exports to folders, those of most bits first."""
    files = run.glob("export/*/program.safetensors")
    rows = [read_export(run, file.with_name("proof.json")) for file in files]
    return sorted(rows, key=lambda row: BITS.index(row["weights"]))


def read_export(run: Path, proof_file: Path) -> dict:
    """Return the result of one export, and the config with which the run was started."""
    proof = json.loads(proof_file.read_text())
    start = json.loads((run / "environment.json").read_text())[-1]
    report, environment = proof["report"], proof["environment"]
    changes = re.findall(r"--config\.(?!data)\S+", start["arguments"])
    return {
        "config": " ".join([re.search(r"configs/\S+", start["arguments"])[0], *changes]),
        **{name: proof[name] for name in FROM_EXPORT},
        "commit": environment["commit"],
        "weights": proof["weights"],
        "code": proof["code"],
        "samples": proof["samples"],
        "equal": proof["equal"],
        "top1_agreement": proof["top1_agreement"],
        **{name: report[name] for name in ("differing", "accuracy", "reference_accuracy")},
        **{name: report[name] for name in ("largest_difference", "clipped")},
        "flipped": {layer["path"]: layer["flipped"] for layer in report["layers"]},
        **{name: environment[name] for name in ("device", "processor", "python", "jax", "flax")},
    }


def main(runs: list[str]) -> None:
    """Collect the exports of all runs, and print a line for each."""
    rows = [row for run in runs for row in read_exports(read_path(run))]
    OUT.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(
            f"{row['config']}, {row['weights']}: "
            f"{'equal' if row['equal'] else 'NOT EQUAL'} on {row['samples']:,}, "
            f"{row['differing']} differ ({row['top1_agreement']:.2%} agree), accuracy "
            f"{row['accuracy']:.2%} of the program, {row['reference_accuracy']:.2%} in floats"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
