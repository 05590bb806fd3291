"""Read the classes of ImageNet's development kit: python mat_child.py < meta.mat

SciPy's reader of MATLAB files can crash the interpreter on damaged bytes, so labels.py runs this as
a process with limits on memory and time. The classes are written to stdout as JSON, by number.
"""

import io
import json
import sys

from scipy.io import loadmat

MOST_BYTES, MOST_SECONDS = 2**30, 20


def main() -> None:
    """Write the class nXXXXXXXX of each number; raise what the reader raises."""
    try:
        import resource
    except ImportError:  # Windows has no limits; the parent still ends a process that hangs.
        pass
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    table = loadmat(io.BytesIO(sys.stdin.buffer.read()))["synsets"].ravel()
    names = {int(row["ILSVRC2012_ID"].item()): str(row["WNID"].item()) for row in table}
    json.dump(names, sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # Damaged bytes raise many types.
        sys.exit(f"{type(error).__name__}: {error}")
