"""Reads configs and options. Start at `arguments.py`, the options of every program.

`cli.py` parses --config and its overrides, `pages.py` finds and runs config files, `choose.py`
turns a name into the part that it names, `bounds.py` and `limits.py` check values.
"""
