"""Drawings of networks, of folds and of codes, as SVG. Start at `drawing.py`."""
