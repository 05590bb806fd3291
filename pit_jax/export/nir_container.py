"""Read the groups and data sets of an HDF5 file: python nir_container.py FILE

HDF5 can crash or never end on damaged bytes, so nir_file.py runs this by `reading.run_parser`, as a
process with limits. A pickle of the tree is written to stdout.
"""

import os
import pickle
import sys
from typing import Any

import h5py

DEEPEST = 8  # Groups in groups; hard links could make a circle.
# HDF5 files are compressed by at most 1032 to 1; small data sets without any bytes are zeros.
EXPANSION, SMALL = 1100, 2**20


def main(path: str) -> None:
    """Write the tree of the group `node` of a file; None if it has no such group."""
    with h5py.File(path, "r") as file:
        node = file.get("node")
        size = os.path.getsize(path)
        tree = read_group(node, size, DEEPEST) if isinstance(node, h5py.Group) else None
    pickle.dump(tree, sys.stdout.buffer)


def read_group(group: h5py.Group, size: int, depth: int) -> dict[str, Any]:
    """Return the contents of a group as dictionaries of arrays and texts.

    The file has `size` bytes.
    """
    if not depth:
        raise ValueError(f"groups nested more than {DEEPEST} deep")
    tree: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            tree[name] = read_group(item, size, depth - 1)
        elif isinstance(item, h5py.Dataset):
            there = SMALL + EXPANSION * min(item.id.get_storage_size(), size)
            if not 0 <= item.nbytes <= there:
                raise ValueError(f"{item.name} declares {item.nbytes:,} bytes, which are not there")
            value = item[()]
            tree[name] = value.decode() if isinstance(value, bytes) else value
    return tree


if __name__ == "__main__":
    main(sys.argv[1])
