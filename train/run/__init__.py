"""The folder of a run. Start at `workdir.py`, which claims it.

`checkpoint.py` saves and resumes, `restore.py` reads checkpoints from outside of the run,
`network.py` has the network to them, `pretrained.py` starts a run from them, `reading.py` reads the
JSON records, `subset.py` writes which training images were chosen, `summary.py` writes the results.
"""
