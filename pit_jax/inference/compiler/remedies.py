"""Remedies for operations that no spiking program computes."""

from pit_jax.inference.compiler.operations import Operation, describe_place
from pit_jax.inference.errors import NotFoldable

# Names of operations and of functions of JAX, with what to do instead.
REMEDIES = {
    ("softmax", "log_softmax", "argmax", "top_k", "exp", "log"): (
        "Return logits: classes are chosen, and probabilities computed, outside of the program."
    ),
    ("relu", "gelu", "silu", "elu", "tanh", "logistic", "sigmoid", "erf", "erfc"): (
        "Use a neuron of pit_jax.neurons instead of an activation function; for probabilities, "
        "return the logits."
    ),
    ("reduce_max", "reduce_min"): (
        "For a maximum over space use nn.max_pool, after a neuron. For a softmax, return its "
        "logits."
    ),
    ("scan", "while", "cond"): (
        "Use a neuron of pit_jax.neurons, which has a rule, instead of a loop or a condition."
    ),
    ("slice", "dynamic_slice", "gather", "split", "concatenate", "stack", "transpose", "rev"): (
        "Keep [B, T, ..., C] whole: add layers instead of joining them, and average logits over "
        "time instead of picking a step."
    ),
    # gelu begins with the cube of its input, norms with a square.
    ("rsqrt", "sqrt", "square", "integer_pow", "pow"): (
        "Use a batch norm, whose statistics are fixed after training, and no norm of one sample; "
        "instead of an activation function such as gelu, use a neuron of pit_jax.neurons."
    ),
    ("random_bits", "random_fold_in", "random_split", "threefry2x32", "bernoulli", "uniform"): (
        "Compile the network in evaluation mode, such as "
        "lambda variables, x: network.apply(variables, x, train=False)."
    ),
    ("conv_general_dilated",): "Use nn.Conv itself, not a class derived from it.",
    ("select_n", "where"): (
        "Compile the network in evaluation mode, without dropout, or use a neuron of "
        "pit_jax.neurons instead of a condition."
    ),
    ("round", "floor", "ceil", "sign", "ge", "gt", "le", "lt", "eq"): (
        "Use a neuron of pit_jax.neurons, which has a rule, instead of its equations."
    ),
}
OTHERWISE = (
    "Put a neuron of pit_jax.neurons in its place; there are rules for nn.Conv, nn.Dense, norms, "
    "neurons, pools, sums, products of spikes and reshapes."
)


def explain_missing_rule(operation: Operation) -> NotFoldable:
    """Return the error for an operation without a rule."""
    names = operation.reported.lstrip("_"), operation.name
    remedy = next(
        (text for known, text in REMEDIES.items() if any(name in known for name in names)),
        OTHERWISE,
    )
    return NotFoldable(f"there is no rule for {names[0]}, {describe_place(operation)}.", remedy)
