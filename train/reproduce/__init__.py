"""Reproduce the tables and figures of the paper: python -m train.reproduce NAME

`plan.py` says which runs a table needs, `sources.py` copies the code that they start from, `jobs/`
trains them in worker processes, `records.py` stores their results, and `pages/` makes the table
from the records.
"""
