"""Figures of the analyses: functions that take arrays and return a matplotlib figure.

Start at the file with the name of your analysis: plots/rates.py draws the results of
analysis/rates.py. style.py has the sizes and colors of all figures. `python -m train.analyze`
writes the figures of a run.
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("figures need matplotlib: pip install 'pit-jax[plots]'.") from error

from pit_jax.old_names import serve_old_names

serve_old_names(__name__)
