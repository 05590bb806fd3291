"""Rematerialized blocks: equal values and gradients, fewer stored bytes."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pit_jax.layers import batch_norm
from pit_jax.models import create
from pit_jax.neurons import LIF, PIT
from tests.helpers import jit_once, walk_equations
from tests.models.reduced import REDUCED

FAMILIES = [
    *("resnet8", "resnet19", "resnet20", "sew_resnet18", "sew_resnet50", "ms_resnet18"),
    *("spike_driven_transformer", "e_spikeformer_s"),
]


@cache
def differentiate(name: str, remat: str) -> tuple:
    """Return initial variables, logits with statistics, and gradients of a small network."""
    row = REDUCED[name]
    kw = row.kw | ({"stages": (1,)} if name == "resnet8" else {})
    model = create(
        name, num_classes=3, neuron=partial(PIT, levels=4), num_steps=2, remat=remat, **kw
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


# Both policies on the network that compiles fastest; the other families are slow.
QUICK = {("resnet8", "convolutions"), ("resnet8", "blocks")}
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


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_are_rematerialized_on_request_only(name):
    row = REDUCED[name]
    images = jax.ShapeDtypeStruct((2, *row.shape), jnp.float32)
    for remat in ("none", "blocks"):
        model = create(name, num_classes=3, neuron=LIF, remat=remat, **row.kw)
        jaxpr = jax.make_jaxpr(model.init)(jax.random.key(0), images).jaxpr
        found = any("remat" in primitive for primitive, _ in walk_equations(jaxpr))
        assert found == (remat == "blocks")


def measure_cost(name: str, remat: str, norm=batch_norm) -> tuple[int, float]:
    """Return stored bytes and FLOPs of the gradient of a network with T = 4 and batch 128."""
    model = create(name, num_classes=10, neuron=LIF, num_steps=4, remat=remat, norm=norm)
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


# The norms, which "convolutions" computes again, are a larger share of the small network.
@pytest.mark.parametrize(
    "name, norms", [("resnet8", 1.02), pytest.param("resnet18", 1.01, marks=pytest.mark.slow)]
)
def test_a_resnet_stores_less_than_a_third_of_the_bytes_for_a_sixth_more_work(name, norms):
    # Of the bytes that the network stores with the batch norm of Flax, whose gradient saves more.
    size, _ = measure_cost(name, "none", nn.BatchNorm)
    plain, flops = measure_cost(name, "none")
    assert plain < 0.8 * size
    for remat, share, work in (("convolutions", 0.3, norms), ("blocks", 0.2, 1.17)):
        smaller, more = measure_cost(name, remat)
        assert smaller < share * size and more < work * flops


def test_an_unknown_choice_is_an_error_that_lists_the_choices():
    for name in ("resnet8", "spike_driven_transformer", "e_spikeformer_s"):
        with pytest.raises(ValueError, match="remat is 'some'; it can be blocks"):
            create(name, num_classes=3, neuron=LIF, remat="some")
