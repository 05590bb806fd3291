"""Generators of the pictures of the docs, and of the parts of pages between markers.

Start at `diagrams.py`: python -m docs._build.diagrams. `site` builds the site: make docs
"""
