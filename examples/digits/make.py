"""Write the trained network that the library ships, `pit_jax.examples.digits()`, again.

python -m train.main --config configs/digits.py runs/digits    # about a minute
python -m examples.digits.make runs/digits
"""

import argparse
import dataclasses
from pathlib import Path

from pit_jax.examples.stored import FOLDER, write_run
from pit_jax.run import open_run

DATA = (
    "The images are of sklearn.datasets.load_digits, with pixels 0 to 16 spread over 0 to 255: "
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning "
    "Repository, 1998 (CC BY 4.0). The test images are those in train/data/splits/digits_test.txt."
)

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("run", type=Path, help="the folder of a finished run of configs/digits.py")
parser.add_argument("--out", type=Path, default=FOLDER, help="default: the folder of the library")
args = parser.parse_args()

# Not the best one, which was chosen on the test images.
run = open_run(args.run, "last")
images, labels = run.images()
about = run.about | {
    "command": f"python -m train.main {run.about['environment']['arguments']}",
    "test_accuracy": float((run.predict(images).argmax(-1) == labels).mean()),
}
del about["folder"]
print(f"{about['test_accuracy']:.2%} of {len(labels)} test images")
for file in write_run(dataclasses.replace(run, about=about), "digits", DATA, args.out):
    print(f"{file}: {file.stat().st_size:,} bytes")
