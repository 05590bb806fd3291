"""The trainer. Start at `main.py` (the command) and `loop.py` (one run, top to bottom).

`config/` reads options, `data/` loads the data, and `program/` has everything that is jitted.
`run/` is the folder of a run with its checkpoints, `monitor/` and `records/` watch and log, and
`distributed/` is for several processes. Other programs: analyze, check, evaluate, export, predict,
report, seeds, ledger, data.prepare.
"""

import pit_jax  # Answers signals from here on, if Python was started with one of these programs.

__all__ = ["pit_jax"]
