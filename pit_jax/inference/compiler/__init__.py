"""From a trained network to integer nodes. Start at `inference.program.compile`.

`trace` lists the layers. `fold` merges norms and scales into weights; `folded` defines its nodes in
real numbers, `builder` and `fold_weights` do the arithmetic, `neuron_rules` has the rule of each
neuron. `units` and `bounds` choose integers; `quantize` and `quantize_neuron` write the integer
nodes of `runtime.nodes`.
"""
