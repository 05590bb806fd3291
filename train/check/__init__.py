"""Check a data set before a long run: python -m train.check --config FILE

Start at `__main__.py`. `archives.py` compares published hashes, `samples.py` counts classes and
finds blank and duplicate samples, `contact_sheet.py` draws, `throughput.py` measures loading.
"""
