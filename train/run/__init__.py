"""The folder of a run. Start at `workdir.py`, which claims it.

`checkpoint.py` saves and resumes, `orbax.py` and `manifest.py` have the files of a checkpoint,
`saved.py` lists checkpoints, `copies.py` restores lost files of the run from them. `restore.py`
reads checkpoints for other programs, `network.py` loads a trained network, `pretrained.py` starts a
run from another one, `reading.py` reads the JSON records, `environment.py` and `subset.py` record
and compare the environment and the data, `summary.py` writes the results.
"""
