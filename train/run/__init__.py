"""The folder of a run: its files, its checkpoints, its weights, and where it was started."""
