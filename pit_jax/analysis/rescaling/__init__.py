"""Change the scales of a trained network: calibrate them, or move them into its I-LIF twin."""
