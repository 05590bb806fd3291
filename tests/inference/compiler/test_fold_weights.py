"""Scales and mixings of spikes, merged into the weights that read them (Eqs. 22 and 23)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.inference.compiler.fold_weights import fold_weight
from pit_jax.inference.compiler.folded import Synapse
from pit_jax.inference.compiler.trace import ModelLayer

STEPS, INPUTS, OUTPUTS = 2, 4, 6


def draw_integers(random, *shape):
    """Return small integers in float64, whose sums and products are exact."""
    return random.integers(-8, 9, shape).astype(np.float64)


def test_eq_22_a_full_matrix_folds_into_a_linear_layer():
    random = np.random.default_rng(0)
    kernel, matrix = draw_integers(random, INPUTS, OUTPUTS), draw_integers(random, 2, 4, 4)
    spikes = random.integers(0, 2, (STEPS, 3, 5, INPUTS))  # Three slots, five samples.
    layer = ModelLayer("head", nn.Dense(OUTPUTS), {})
    weight = fold_weight(layer, kernel, Synapse(0, mixing=matrix), (INPUTS,))
    assert weight.kernel.shape == (STEPS, INPUTS, OUTPUTS)
    for t in range(STEPS):
        # W (A Σ s) = (W A) Σ s, with rows of samples in place of columns.
        trained = spikes[t].sum(0) @ matrix[t].T @ kernel
        np.testing.assert_array_equal(spikes[t].sum(0) @ weight.kernel[t], trained)
        np.testing.assert_array_equal((spikes[t] @ weight.kernel[t]).sum(0), trained)


@pytest.mark.parametrize("groups", [1, 2])
def test_eq_23_scales_fold_into_the_input_channels_of_a_kernel(groups):
    random = np.random.default_rng(1)
    kernel, a = draw_integers(random, 3, 3, INPUTS // groups, OUTPUTS), draw_integers(random, 2, 4)
    conv = nn.Conv(OUTPUTS, (3, 3), padding=1, use_bias=False, feature_group_count=groups)
    synapse = Synapse(0, gain=a)
    weight = fold_weight(ModelLayer("conv", conv, {}), kernel, synapse, (5, 5, INPUTS))
    if groups == 1:
        np.testing.assert_array_equal(weight.kernel, a[:, None, None, :, None] * kernel)
    counts = random.integers(0, 5, (1, 5, 5, INPUTS)).astype(np.float32)
    apply = jax.jit(lambda kernel, x: conv.apply({"params": {"kernel": kernel}}, x))
    for t in range(STEPS):
        trained = apply(jnp.float32(kernel), jnp.float32(a[t] * counts))
        folded = apply(jnp.float32(weight.kernel[t]), counts)
        np.testing.assert_array_equal(folded, trained)
        assert np.ptp(trained) > 0
