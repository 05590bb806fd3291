"""Rematerialized blocks: equal values and gradients, fewer stored bytes."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.models import create
from pit_jax.neurons import LIF, PIT
from tests.helpers import jit_once
from tests.models.reduced import REDUCED

FAMILIES = [
    *("resnet8", "resnet19", "resnet20", "sew_resnet18", "sew_resnet50", "ms_resnet18"),
    *("spike_driven_transformer", "e_spikeformer_s"),
]


@cache
def differentiate(name: str, remat: str) -> tuple:
    """Return initial variables, logits with statistics, and gradients of a small network."""
    row = REDUCED[name]
    model = create(
        name, num_classes=3, neuron=partial(PIT, levels=4), num_steps=2, remat=remat, **row.kw
    )
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(4, *row.shape)))
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jit_once(partial(model.init, train=True))(rngs, images)

    def loss(params, stats):
        logits, new = model.apply(
            {"params": params, "batch_stats": stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs=rngs,
        )
        return (logits**2).sum(), (logits, new)

    stats = variables.get("batch_stats", {})
    grads, aux = jit_once(jax.grad(loss, has_aux=True))(variables["params"], stats)
    return variables, aux, grads


QUICK = {("resnet8", "convolutions"), ("e_spikeformer_s", "blocks")}
PAIRS = [(name, remat) for name in FAMILIES for remat in ("convolutions", "blocks")]


@pytest.mark.parametrize(
    "name, remat",
    [pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_variables_logits_statistics_and_gradients_do_not_change(name, remat, x64):
    stored, recomputed = differentiate(name, "none"), differentiate(name, remat)
    for one, other in zip(stored, recomputed, strict=True):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def measure_cost(remat: str) -> tuple[int, float]:
    """Return stored bytes and FLOPs of the gradient of ResNet18 with T = 4 and batch 128."""
    model = create("resnet18", num_classes=10, neuron=LIF, num_steps=4, remat=remat)
    images = jax.ShapeDtypeStruct((128, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)

    def loss(params, stats, images):
        variables = {"params": params, "batch_stats": stats}
        logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return (logits**2).mean()

    arguments = variables["params"], variables["batch_stats"], images
    stored = jax.eval_shape(lambda params, *rest: jax.vjp(loss, params, *rest)[1], *arguments)
    lowered = jax.jit(jax.grad(loss)).lower(*arguments)
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(stored))
    return size, lowered.cost_analysis()["flops"]


def test_resnet18_stores_less_than_a_third_of_the_bytes_for_a_sixth_more_work():
    size, flops = measure_cost("none")
    for remat, share, work in (("convolutions", 0.3, 1.01), ("blocks", 0.2, 1.17)):
        smaller, more = measure_cost(remat)
        assert smaller < share * size and more < work * flops


def test_an_unknown_choice_is_an_error_that_lists_the_choices():
    for name in ("resnet8", "spike_driven_transformer", "e_spikeformer_s"):
        with pytest.raises(ValueError, match="one of none, convolutions, blocks, got 'some'"):
            create(name, num_classes=3, neuron=LIF, remat="some")
