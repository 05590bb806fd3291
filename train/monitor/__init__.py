"""What watches a run: losses that are not finite, the health of its neurons, profiles."""
