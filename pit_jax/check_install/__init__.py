"""The program `pit-jax check-install`: is everything there, and does a training step run?

`extras.py` knows the packages of each extra, and `step.py` runs the step.
"""
