"""The integer nodes and the JAX program that runs them."""
