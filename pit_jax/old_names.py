"""Names of earlier versions and those that took their place; what was saved under them is read."""

# Classes of saved programs: in files of format 1, and in the fingerprints of all programs.
SAVED_CLASSES = {
    "Sampled": "Pixels",
    "Summed": "Accumulator",
    "Fired": "Spikes",
    "Attended": "LinearAttention",
}
