"""The order of samples, and their batches: from device memory, or read ahead from disk."""
