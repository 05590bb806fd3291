"""Data sets of event cameras, a file each: cifar10_dvs, dvs_digits, dvs_gesture, n_mnist.

`recordings.py` turns recordings into frames, `splits.py` selects test recordings, `tonic.py`
fetches data and reads tonic's files. The formats themselves are read by `pit_jax.events`.
"""
