"""The accuracy with and without the settings of pit_jax.tuning: python -m benchmarks.accuracy

    python -m benchmarks.accuracy [--configs digits,fashion_mnist] [--seeds 5] [--epochs 3]
        [--checkout DIR] [--data DIR] [--out FILE.json] [--config.KEY=VALUE ...]

Trains the same seeds twice with `train.seeds`, with tuning on and with PIT_JAX_TUNING=off; only
rounding differs. Prints the mean of each with its 95 % interval, and the interval of the paired
difference. `--checkout` trains with the code in another folder, such as a worktree of an earlier
commit, so that the printed lines of both can be compared. Writes FILE after each training and skips
what it has. Fashion-MNIST takes minutes for each seed.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scipy.stats import t

from benchmarks.peers import clean_environment
from benchmarks.records import describe_machine, find_commit

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "accuracy.json"
TUNING = ("on", "off")


def train(config: str, tuning: str, args: argparse.Namespace, more: Sequence[str]) -> list[float]:
    """Train all seeds, and return their test accuracies after the last epoch."""
    with tempfile.TemporaryDirectory(prefix="pit_jax_accuracy_") as folder:
        command = [
            *(sys.executable, "-m", "train.seeds", f"--config={config}", f"--workdir={folder}"),
            f"--seeds={','.join(map(str, range(args.seeds)))}",
            *(f"--config.epochs={args.epochs}", f"--config.data.data_dir={args.data}", *more),
        ]
        variables = clean_environment()
        if tuning == "off":
            variables["PIT_JAX_TUNING"] = "off"
        subprocess.run(
            command, cwd=args.checkout, env=variables, check=True, stdout=subprocess.DEVNULL
        )
        found = json.loads((Path(folder) / "seeds.json").read_text())
    return [float(value) for value in found["last_accuracy"]["of_seeds"]]


def find_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval, by Student's t."""
    if len(values) < 2:
        return statistics.fmean(values), math.inf
    width = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values)
    return statistics.fmean(values), width / math.sqrt(len(values))


def describe(config: str, found: dict[str, list[float]]) -> list[str]:
    """Return a line for each training of a config, and one for their difference."""
    lines = [f"{config}, tuning {name}: {_show(values)}" for name, values in found.items()]
    if found.keys() == set(TUNING):
        difference = [on - off for on, off in zip(found["on"], found["off"], strict=True)]
        mean, half = find_interval(difference)
        verdict = "within its interval" if abs(mean) <= half else "BEYOND ITS INTERVAL"
        lines.append(f"{config}, on minus off: {_show(difference)}, {verdict}")
    return lines


def _show(values: Sequence[float]) -> str:
    mean, half = find_interval(values)
    return f"{100 * mean:.2f} ± {100 * half:.2f} % ({len(values)} seeds, 95 %)"


def main(arguments: Sequence[str]) -> int:
    """Train what the file lacks, and print the intervals; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--configs", default="digits,fashion_mnist", help="separated by commas")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="the code that trains")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the folder of the data")
    parser.add_argument("--out", type=Path, default=OUT, help="the file of the results")
    args, more = parser.parse_known_args(arguments)
    if unknown := [word for word in more if not word.startswith("--config.")]:
        parser.error(f"unknown argument {unknown[0]}")
    args.data, args.checkout = args.data.absolute(), args.checkout.absolute()
    runs = json.loads(args.out.read_text()) if args.out.exists() else {}
    for config in args.configs.split(","):
        found: dict[str, list[float]] = {}
        for tuning in TUNING:
            what = f"{config} {args.seeds} seeds {args.epochs} epochs {' '.join(more)}"
            name = f"{what}, tuning {tuning}, {args.checkout.name}"
            if name not in runs:
                runs[name] = {
                    "commit": find_commit(args.checkout),
                    "machine": describe_machine(),
                    "test accuracies": train(config, tuning, args, more),
                }
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(runs, indent=1) + "\n")
            found[tuning] = runs[name]["test accuracies"]
        print("\n".join(describe(config, found)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
