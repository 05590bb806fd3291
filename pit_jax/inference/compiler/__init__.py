"""From a trained network to integer nodes: trace, fold, quantize."""
