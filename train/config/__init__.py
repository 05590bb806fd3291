"""Reads configs and options. Start at `arguments.py`, the options of every program.

`cli.py` parses --config and its flags, which `overrides.py` applies with the types of `values.py`;
`pages.py` finds and runs config files, `help.py` shows their keys. `parts.py` says what the name in
a section can be and which keys it takes, `choose.py` makes that part, `sections.py` lists the
sections of a config, `keys.py` declares the keys that belong to no part, `own.py` explains errors
in a user's own parts. `bounds.py` and `limits.py` check values.
"""
