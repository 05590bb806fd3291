"""Train several seeds of one config: python -m train.seeds --config FILE

Start at `loop.py`, which trains one seed after the other. `folder.py` reads and checks the folder
of all of them, `__main__.py` is the command.
"""
