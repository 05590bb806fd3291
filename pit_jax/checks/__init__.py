"""The domains of arguments, declared once at the function or class that takes them.

bounds.py has numbers, words and tuples, arrays.py inputs and currents, dtypes.py the dtypes of a
computation, neurons.py the callables that make a neuron. levels.py has the error of rounding
membranes, which runs check before their first step. Nothing here imports JAX before a check
needs it.
"""
