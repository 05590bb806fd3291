"""Logs of a run. Start at `loggers.py`, which sends each record to all of them.

`jsonl.py` writes metrics.jsonl, `tensorboard.py` and `wandb.py` the dashboards, `progress.py`
shows the progress bar and the tables in the terminal.
"""
