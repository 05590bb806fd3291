"""Several processes that train as one run. Start at `hosts.py`: find each other, agree, stop, exit.

`watchdog.py` explains a process that was killed. The mesh of devices is in `program/sharding.py`.
"""
