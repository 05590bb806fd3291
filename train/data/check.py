"""The old location of `train.check`: python -m train.data.check"""

import runpy
import sys

if __name__ == "__main__":
    new = __spec__.name.removesuffix("data.check") + "check"
    print(f"python -m train.data.check is now python -m {new}", file=sys.stderr)
    runpy.run_module(new, run_name="__main__", alter_sys=True)
