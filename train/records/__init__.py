"""What a run reports: metrics.jsonl, dashboards, the progress bar and tables."""
