"""A figure for each analysis: functions that take arrays and give a matplotlib figure."""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("figures need matplotlib: pip install 'pit-jax[plots]'.") from error

from pit_jax.old_names import serve_old_names

serve_old_names(__name__)
