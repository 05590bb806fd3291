"""Evaluate a trained run: python -m train.evaluate RUN

Start at `measure.py`. `metrics.py` has the metrics, `folder.py` reads a user's images,
`__main__.py` is the command.
"""
