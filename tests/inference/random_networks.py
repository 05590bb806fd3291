"""Small networks of any layers, also as a strategy of hypothesis."""

from typing import Any

import flax.linen as nn
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import jit_once
from tests.inference.networks import NEURONS

# Channels of a random network may be silent on its random input.
ALLOW_SILENT_CHANNELS = pytest.mark.filterwarnings("ignore:.*start at the floor:UserWarning")


class RandomNetwork(nn.Module):
    """Convolutions with norms and neurons, some with a pool or a shortcut, and a linear head.

    A layer is (features, kernel, stride, groups, what follows the neuron). `neuron` is a factory
    for all layers, or a tuple with one for each layer.
    """

    neuron: Any
    num_steps: int
    layers: tuple[tuple[int, int, int, int, str], ...]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if x.ndim == 4:
            x = jnp.broadcast_to(x[:, None], (len(x), self.num_steps, *x.shape[1:]))
        one_for_all = callable(self.neuron)
        factories = (self.neuron,) * len(self.layers) if one_for_all else self.neuron
        for (features, kernel, stride, groups, then), neuron in zip(
            self.layers, factories, strict=True
        ):
            pad = ((kernel // 2, kernel // 2),) * 2
            y = nn.Conv(
                features, (kernel, kernel), stride, pad, feature_group_count=groups, use_bias=True
            )(x)
            y = neuron()(nn.BatchNorm(not train, momentum=0.5)(y))
            if then == "add" and y.shape == x.shape and x.shape[-1] > 2:
                y = y + x
            if then in ("avg", "max") and min(y.shape[2:4]) > 1:
                pool = nn.avg_pool if then == "avg" else nn.max_pool
                y = pool(y, (2, 2), (2, 2))
            x = y
        return nn.Dense(3)(x.mean((2, 3)))


def make_variables(model: RandomNetwork, x: jax.Array, seed: int) -> dict[str, Any]:
    """Return variables with batch norm statistics and scales of many sizes above 0."""
    variables = dict(jit_once(model.init)(jax.random.key(seed), x))
    update_statistics = jit_once(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[1]
    )
    for n in range(20):
        variables |= update_statistics(variables, x * (1 + n % 3))
    draw = np.random.default_rng(seed)

    # In NumPy, as JAX would compile each operation for each shape.
    def scale_leaf(path: Any, leaf: jax.Array) -> np.ndarray:
        values: np.ndarray = np.asarray(leaf)
        if path[-1].key in ("a", "amplitude", "alpha"):
            values = values * draw.uniform(0.3, 2.0, values.shape)
        return values.astype(np.float32)

    params = jax.tree_util.tree_map_with_path(scale_leaf, variables["params"])
    variables["params"] = jax.device_put(params)
    return variables


@st.composite
def random_networks(draw: st.DrawFn) -> tuple[Any, ...]:
    """Draw a network, the shape of its input, the code of its spikes and its type of weights."""
    name = draw(st.sampled_from(sorted(NEURONS)))
    then = ("", "add", "avg") if name in ("PITFull", "RealSpike") else ("", "add", "avg", "max")
    last = draw(st.sampled_from([2, 4]))
    layers = [(last, draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2])), 1, "")]
    for _ in range(draw(st.integers(1, 2))):
        features = draw(st.sampled_from([2, 4]))
        groups = draw(st.sampled_from([1, 2, min(last, features)]))
        kernel, stride = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 2]))
        layers.append((features, kernel, stride, groups, draw(st.sampled_from(then))))
        last = features
    levels, steps = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2, 4]))
    shape = (draw(st.integers(3, 7)), draw(st.integers(3, 7)), draw(st.sampled_from([1, 3])))
    pooled = any(layer[-1] == "max" for layer in layers)
    code = draw(st.sampled_from(["thermometer"] if pooled else ["thermometer", "bitwise"]))
    weights = draw(st.sampled_from(["float32", "int8"]))
    frames = draw(st.booleans())
    network = RandomNetwork(NEURONS[name](levels), steps, tuple(layers))
    return network, (steps, *shape) if frames else shape, code, weights


def make_small_network(
    neuron: Any, num_steps: int, *layers: tuple[int, int, int, int, str], batch: int = 8
) -> tuple[RandomNetwork, dict[str, Any], jax.Array]:
    """Return a network of `layers` that fires at all steps, its variables, and `batch` images."""
    model = RandomNetwork(neuron, num_steps, layers)
    x = jax.random.normal(jax.random.key(0), (batch, 8, 8, 3))
    variables = make_variables(model, x, 0)

    def raise_currents(path: Any, leaf: jax.Array) -> jax.Array:
        return 3 * leaf if path[-1].key == "scale" else leaf  # Of a batch norm.

    params = jax.tree_util.tree_map_with_path(raise_currents, variables["params"])
    return model, variables | {"params": params}, x
