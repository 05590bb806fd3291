"""From a trained network to integer nodes. Start at `inference.program.compile`.

`trace` lists the layers, `fold` puts norms and scales into weights (`folded` has the nodes in real
numbers, `builder` and `fold_weights` the arithmetic, `neuron_rules` the rule of each neuron),
`units` and `bounds` choose integers, `quantize` and `quantize_neuron` write `runtime.nodes`.
"""
