"""Logs of a run. Start at `loggers.py`, which sends each record to all of them.

`jsonl.py` writes metrics.jsonl, `tensorboard.py` and `wandb.py` write to dashboards, `progress.py`
prints the progress bar and the tables.
"""
