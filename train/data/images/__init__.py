"""Data sets of images that fit into memory."""
