"""The site: pages for Zensical, and the check of what it built. Start at `build.py`."""
