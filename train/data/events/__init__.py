"""Data sets of event cameras, a file each: cifar10_dvs, dvs_digits, dvs_gesture, n_mnist.

`recordings.py` turns recordings into frames, `splits.py` selects test recordings, `tonic.py`
downloads data and reads tonic's files. `pit_jax.events` reads the file formats.
"""
