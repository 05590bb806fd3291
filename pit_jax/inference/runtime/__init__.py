"""The integer nodes of a program, and the JAX functions that run them. Start at `nodes`.

`nodes` defines the integer nodes, `pixels` reads and normalizes inputs, `step` runs one time step,
`fixed_point` fires neurons, `reductions` has pools and sums, `stream` takes frames one by one.
"""
