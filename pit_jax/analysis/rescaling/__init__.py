"""Change the scales of a trained network: its I-LIF twin."""
