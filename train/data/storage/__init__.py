"""Helpers of the data sets: archives, downloads, caches, tfds folders, worker processes.

`cache.py` also chooses where a cache is. ImageNet's prepared files are written and read by
`../imagenet/array_records.py`.
"""
