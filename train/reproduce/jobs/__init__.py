"""The processes that train: `schedule.py` gives jobs to `workers.py`.

Each worker is a process, `worker.py`, which does jobs as in `work.py`. `slots.py` finds the cores
and GPUs, `probe.py` measures the cost of a run, `estimate.py` adds costs up, and `start.py` calls
them all.
"""
