"""A figure for each analysis: functions that take arrays and give a matplotlib figure."""
