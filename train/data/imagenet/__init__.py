"""ImageNet: from the official archives to prepared files to batches."""
