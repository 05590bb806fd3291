"""The program `pit-jax check-install` lists what is installed, and runs a training step.

`extras.py` has the packages of each extra, and `step.py` runs the step.
"""
