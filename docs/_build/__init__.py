"""Generates the pictures of the docs and the parts of pages between markers.

Start at `diagrams.py`: python -m docs._build.diagrams. The site itself: make docs
"""
