"""The order of samples, and their batches. Start at `order.py`, which assigns samples to batches.

`resident.py` selects them in the device's memory, `read_ahead.py` reads them from disk in worker
processes. `program/feed.py` moves batches from host to device.
"""
