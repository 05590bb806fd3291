"""Figures of the analyses: functions that take arrays and return a matplotlib figure.

Start at the file with the name of your analysis: plots/rates.py draws the results of
analysis/rates.py. `pit_jax.plots` has pictures of spikes, membranes and events, and in style.py the
sizes and colors of all figures. `python -m train.analyze` writes the figures of a run.
"""

import pit_jax.plots  # noqa: F401  (Without matplotlib its error names the extra.)
from pit_jax.old_names import serve_old_names

serve_old_names(__name__)
