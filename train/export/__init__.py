"""Export a trained run as binary spikes: python -m train.export RUN

Start at `compile_run.py`, which compiles a checkpoint and verifies it on the test split;
`refusal.py` explains why the compiler refuses a network, and `__main__.py` is the command. The
compiler itself is `pit_jax.inference`.
"""
