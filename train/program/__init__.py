"""The jitted functions of a run. Start at `step.py`, the training step.

`optim.py` has the learning rate schedules and the optimizers, `losses.py` the losses, `inputs.py`
augmentation and normalization. `build.py` makes parts from a config, `sharding.py` the mesh.
`pure.py` makes the pure functions of a run, `program.py` jits them and places them on devices.
"""
