"""The folder of a run. Start at `workdir.py`, which claims it.

`checkpoint.py` saves and resumes, `restore.py` reads checkpoints for other programs, `network.py`
loads a trained network, `pretrained.py` starts a run from another one, `reading.py` reads the JSON
records, `subset.py` writes which training images are used, `summary.py` writes the results.
"""
