"""What a run computes: its state, its steps of training and evaluation, inputs, devices."""
