"""SpikingJelly's networks and ours send the same spikes with the same weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("spikingjelly")

from pit_jax.interop import LAYOUTS, convert, find_layout
from pit_jax.models import create
from pit_jax.neurons.probe import neuron_layers
from tests.helpers import collect_by_layer
from tests.interop.peers import NETWORKS, random_network, run

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3))


def reorder_axes(spikes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `[T, B, C, H, W]` as `[B, T, H, W, C]`; channels split into heads are merged."""
    spikes = spikes.swapaxes(0, 1)
    last = np.moveaxis(spikes, 2, -1)
    return last if last.shape == shape else spikes.reshape(shape)


def run_both(name, dtype):
    """Return logits and spikes of their network and of ours in `dtype`."""
    net = random_network(name)
    net = net.double() if dtype == np.float64 else net.float()
    images = IMAGES.astype(dtype)
    theirs = run(net, images)
    state_dict = {key: value.numpy() for key, value in net.state_dict().items()}
    neurons = LAYOUTS[find_layout(state_dict)].neurons
    classes = theirs[0].shape[-1]
    model = create(name, num_classes=classes, num_steps=2, **neurons)
    images = jnp.asarray(images)
    variables = convert(state_dict, model, images)
    logits, probes = jax.jit(partial(model.apply, mutable=["intermediates"]))(variables, images)
    counts = collect_by_layer(probes["intermediates"], "count")
    ours = [np.asarray(counts[layer]) for layer in neuron_layers(model, variables, images)]
    assert len(ours) == len(theirs[1])
    moved = [reorder_axes(*pair) for pair in zip(theirs[1], (x.shape for x in ours), strict=True)]
    return (theirs[0], moved), (np.asarray(logits).mean(1), ours)


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float64_every_spike_is_equal(name, x64):
    (their_logits, theirs), (logits, ours) = run_both(name, np.float64)
    assert logits.dtype == np.float64
    rates = [float(spikes.mean()) for spikes in theirs]
    assert np.mean([0.01 < rate < 0.99 for rate in rates]) > 0.9, rates
    for layer, pair in enumerate(zip(theirs, ours, strict=True)):
        np.testing.assert_array_equal(*pair, err_msg=f"neuron layer {layer}")
    np.testing.assert_allclose(logits, their_logits, rtol=1e-9, atol=1e-9 * abs(logits).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float32_few_spikes_flip(name):
    # Other summation orders flip spikes, and flips spread; the number of flips is printed.
    (their_logits, theirs), (logits, ours) = run_both(name, np.float32)
    flipped = sum(int((a != b).sum()) for a, b in zip(theirs, ours, strict=True))
    total = sum(spikes.size for spikes in theirs)
    apart = abs(logits - their_logits).max() / abs(their_logits).max()
    print(f"{name}: {flipped} of {total} spikes flipped, logits {apart:.1e} apart (relative)")
    assert flipped < 0.05 * total
