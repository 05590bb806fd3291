"""Classify a user's own files: python -m train.predict RUN FILES... --out predictions.csv

`__main__.py` is the command, `samples.py` finds and reads the files, `sheet.py` draws them with
their classes.
"""
