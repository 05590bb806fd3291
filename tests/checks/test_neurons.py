"""Functions that make the neurons of a network: their results are checked when they are called."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from pit_jax.models import create
from pit_jax.neurons import LIF, PIT


@pytest.mark.parametrize(
    "make, returned",
    [
        (lambda: LIF, r"<lambda> returned the class LIF; return a neuron, LIF\(...\)\."),
        (lambda: partial(PIT, levels=2), r"a partial of PIT; return a neuron, PIT\(...\)\."),
        (lambda: dict, "the class dict"),
        (partial(lambda kind: kind, LIF), "returned the class LIF"),
        (lambda: 3, "<lambda> returned 3\\."),
        (lambda: "LIF", "<lambda> returned 'LIF'\\."),
        (lambda: None, "<lambda> returned None\\."),
        (lambda: (LIF(),), "<lambda> returned \\(LIF"),
    ],
)
def test_a_function_that_returns_no_neuron_is_refused_with_what_it_returned(make, returned):
    x = jnp.ones((1, 8, 8, 3))
    for network, fields in (
        ("resnet8", {"neuron": make, "stages": (1,)}),
        ("cifarnet", {"neuron": make}),
        ("sew_resnet18", {"downsample_neuron": make}),
        ("e_spikeformer_t", {"head_neuron": make}),
    ):
        model = create(network, **{"num_classes": 3, "neuron": LIF} | fields)
        message = rf"^\w*neuron must be a function without .*, but .*{returned}"
        with pytest.raises(ValueError, match=f"(?s){message}"):
            jax.eval_shape(model.init, jax.random.key(0), x)


def test_a_network_with_a_function_of_neurons_equals_its_clone_and_keeps_its_parameters():
    def make():
        return PIT(levels=2)

    one = create("resnet8", num_classes=3, neuron=make, stages=(1,))
    assert one == one.clone() and hash(one) == hash(one.clone())
    plain = create("resnet8", num_classes=3, neuron=partial(PIT, levels=2), stages=(1,))
    shapes = [
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
        for model in (one, plain)
    ]
    assert jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])
