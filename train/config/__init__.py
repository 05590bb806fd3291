"""Configs: read from the command line, checked, and turned into the parts that they name."""
