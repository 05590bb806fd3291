"""ImageNet. Start at `dataset.py`, which reads prepared files during training.

`source.py` plans a conversion from archives, a folder or tfds, `array_records.py` writes and
verifies the prepared files, `tar.py` and `labels.py` read the archives, `decode.py` decodes and
crops images.
"""
