"""Watches a run while it trains. Start at `nonfinite.py`: losses and gradients that are not finite.

`health.py` warns of neuron layers that leave their normal range, `profile.py` traces some steps.
"""
