"""Charge and resets by hand, with the gradients of the resets."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.neurons import charge, hard_reset, soft_reset
from pit_jax.neurons.step import clearing_reset

pytestmark = pytest.mark.usefixtures("strict")


def test_charge_adds_the_current_or_a_share_of_it_to_the_decayed_membrane():
    v, current = jnp.array([2.0, -4.0]), jnp.array([1.0, 8.0])
    np.testing.assert_array_equal(charge(v, current, decay=0.25), [1.5, 7])
    np.testing.assert_array_equal(charge(v, current, decay=0.25, decay_input=True), [1.25, 5])
    np.testing.assert_array_equal(charge(v, current, decay=1.0), [3, 4])


@pytest.mark.parametrize(
    "reset, want, du, ds",
    [
        (soft_reset, [0.5, -1.0, 0.25], [1, 1, 1], [-2, -2, -2]),  # u - 2 s
        (hard_reset, [0.0, -1.0, 0.0], [0, 1, 0], [-2.5, 1.0, -2.25]),  # u (1 - s)
        (clearing_reset, [0.0, -1.0, 0.0], [0, 1, 0], [0, 0, 0]),  # 0 where s is not 0
    ],
)
def test_resets_by_hand_and_their_gradients_attached_and_detached(reset, want, du, ds):
    u, s = jnp.array([2.5, -1.0, 2.25]), jnp.array([1.0, 0.0, 1.0])
    for detach in (False, True):
        v, pull = jax.vjp(partial(reset, threshold=2.0, detach=detach), u, s)
        np.testing.assert_array_equal(v, want)
        grad_u, grad_s = pull(jnp.ones(3))
        np.testing.assert_array_equal(grad_u, du)
        np.testing.assert_array_equal(grad_s, np.zeros(3) if detach else ds)


@pytest.mark.parametrize("s", [0.25, -0.25, 3.0])
def test_clearing_resets_the_membrane_to_0_for_spikes_of_any_size(s):
    u, spikes = jnp.array([2.5, -1.0]), jnp.array([s, 0.0])
    np.testing.assert_array_equal(clearing_reset(u, spikes), [0, -1])
