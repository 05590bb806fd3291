"""The integer nodes of a program, and the JAX functions that run them.

`nodes` defines the integer nodes, `step` runs one time step, `fixed_point` fires neurons,
`reductions` pools and sums, `stream` takes frames one by one. Start at `nodes`.
"""
