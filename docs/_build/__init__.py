"""Writes the tables and pictures of the docs."""
