"""The processes of a start: `schedule.py` gives jobs to `workers.py`.

Each worker is a process, `worker.py`, which does jobs as in `work.py`. `slots.py` finds the cores
and GPUs, `probe.py` measures what a run costs, `estimate.py` adds it up, `start.py` does all of it.
"""
