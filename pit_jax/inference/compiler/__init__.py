"""From a trained network to integer nodes. Start at `inference.program.compile`.

`trace` lists the layers of a network and the `operations` between them. `fold` merges norms and
scales into weights, with `folded` for its nodes in real numbers, and `builder` and `fold_weights`
for the arithmetic. `stages` has the axis of time of each value, `neuron_rules` the rule of each
neuron, and `remedies` the advice for operations without a rule. `units` and `bounds` choose
integers; `quantize` and `quantize_neuron` write the integer nodes of `runtime.nodes`.
"""
