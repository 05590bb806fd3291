"""Batches in the order of training: from device memory, or read ahead from disk."""
