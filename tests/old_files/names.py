"""List the modules of the library in a checkout and the names in their `__all__`.

names.txt has the names of the commit before the public names changed (f00c0cf):
python tests/old_files/names.py CHECKOUT > tests/old_files/names.txt
"""

import ast
import sys
from pathlib import Path


def list_names(root: Path) -> list[str]:
    """Return the dotted names of all modules and exports under `root`."""
    found = []
    for file in sorted((root / "pit_jax").rglob("*.py")):
        module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if file.stem == "__main__":
            continue
        found.append(module)
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found += [f"{module}.{name}" for name in ast.literal_eval(node.value)]
    return found


if __name__ == "__main__":
    print("\n".join(list_names(Path(sys.argv[1]))))
