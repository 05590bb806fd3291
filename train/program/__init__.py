"""Everything that is jitted. Start at `step.py`, the training step.

`optim.py` has the learning rate schedule and the optimizers, `losses.py` the losses, `inputs.py`
augmentation and normalization, `build.py` makes parts from a config, `sharding.py` the mesh,
`pure.py` the functions before they are placed on devices, `program.py` after.
"""
