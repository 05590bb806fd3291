"""From a trained network to integer nodes. Start at `inference.program.compile`.

`trace` lists the layers of a network and the `operations` between them. `fold` merges norms and
scales into weights, at the `stages` before, within and after time; `folded` defines its nodes in
real numbers, `builder` and `fold_weights` do the arithmetic, `neuron_rules` has the rule of each
neuron, and `remedies` what to do about an operation without a rule. `units` and `bounds` choose
integers; `quantize` and `quantize_neuron` write the integer nodes of `runtime.nodes`.
"""
