"""The training program: `python -m train.main --config configs/digits.py`."""
