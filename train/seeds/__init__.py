"""Train several seeds in one program: python -m train.seeds --config FILE

Start at `loop.py`, the run of several seeds, top to bottom. `program.py` compiles their training
steps as one program, `__main__.py` is the command.
"""
