"""Read the classes of ImageNet's development kit: python mat_child.py < meta.mat

SciPy's reader of MATLAB files can crash the interpreter on damaged bytes, so labels.py runs this by
`reading.run_parser`, as a process with limits. It prints the classes as JSON, by number.
"""

import io
import json
import sys

from scipy.io import loadmat


def main() -> None:
    """Write the class nXXXXXXXX of each number; raise what the reader raises."""
    table = loadmat(io.BytesIO(sys.stdin.buffer.read()))["synsets"].ravel()
    names = {int(row["ILSVRC2012_ID"].item()): str(row["WNID"].item()) for row in table}
    json.dump(names, sys.stdout)


if __name__ == "__main__":
    main()
