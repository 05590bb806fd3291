"""How near programs of binary spikes are to the trained networks, on whole test sets.

python -m train.export --workdir RUN --format directory         # of every run, then
python -m benchmarks.spike_driven_agreement RUN [RUN ...]

It gathers what the exports found into benchmarks/spike_driven_agreement.json.
"""

import json
import re
import sys
from pathlib import Path

OUT = Path(__file__).with_suffix(".json")
FROM_EXPORT = ("title", "data", "seed", "checkpoint", "step", "commit_of_training")


def found(run: Path) -> dict:
    """What the export of the last checkpoint of a run says, and how the run was started."""
    proof = json.loads((run / "export/last_directory/proof.json").read_text())
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
    """Gathers the runs and prints a line of each."""
    rows = [found(Path(run)) for run in runs]
    OUT.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        print(
            f"{row['config']}: {'equal' if row['equal'] else 'NOT EQUAL'} on {row['samples']:,}, "
            f"{row['differing']} differ ({row['top1_agreement']:.2%} agree), accuracy "
            f"{row['accuracy']:.2%} of the program, {row['reference_accuracy']:.2%} in floats"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
