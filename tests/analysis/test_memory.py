"""The memory of a training step, compared with bytes computed by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

from pit_jax import models
from pit_jax.analysis.memory import (
    Residual,
    TrainingMemory,
    bytes_of,
    list_residuals,
    training_memory,
)
from pit_jax.analysis.plots import memory as plots
from pit_jax.neurons import LIF, NEURONS, PIT, RealSpike, ReLU, pit_fire

# Images, and input, hidden and output channels.
B, C, H, K = 5, 3, 7, 2
WEIGHTS = {"first": jnp.ones((C, H)), "second": jnp.ones((H, K))}
X = jnp.ones((B, C))


def sine(w: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sin(x @ w)


def two_layers(w: Any, x: jax.Array, layer: Callable = sine) -> jax.Array:
    return (layer(w["first"], x) @ w["second"]).sum()


def list_sizes(arrays: tuple[Residual, ...]) -> list[int]:
    return sorted(array.bytes for array in arrays)


def test_a_sine_and_its_derivative_are_saved_but_no_argument() -> None:
    assert list_sizes(list_residuals(two_layers, WEIGHTS, X)) == [4 * B * H, 4 * B * H]


def test_a_jitted_layer_saves_the_same_arrays() -> None:
    assert (
        list_sizes(list_residuals(partial(two_layers, layer=jax.jit(sine)), WEIGHTS, X))
        == [4 * B * H] * 2
    )


def test_a_reshape_inside_a_jitted_function_is_not_a_new_array() -> None:
    @jax.jit
    def flatten(x: jax.Array) -> jax.Array:
        return x.reshape(-1, C)

    def f(w: Any, x: jax.Array) -> jax.Array:
        return two_layers(w, flatten(x))

    assert list_sizes(list_residuals(f, WEIGHTS, X[:, None])) == [4 * B * H, 4 * B * H]


def test_a_constant_from_a_jitted_function_is_not_saved() -> None:
    @jax.jit
    def with_ones(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.sin(x), jnp.ones((B, H))

    def f(w: jax.Array, x: jax.Array) -> jax.Array:
        y, ones = with_ones(x @ w)
        return (y * ones).sum()

    assert list_sizes(list_residuals(f, WEIGHTS["first"], X)) == [4 * B * H]


@pytest.mark.parametrize(("steps", "new"), [(1, []), (2, [2 * 4 * B * C])])
def test_moving_the_time_axis_copies_only_with_several_steps(steps: int, new: list[int]) -> None:
    def f(w: jax.Array, x: jax.Array) -> jax.Array:
        return (jnp.moveaxis(x, 0, 1).reshape(-1, C) @ w).sum()

    assert list_sizes(list_residuals(f, WEIGHTS["first"], jnp.ones((steps, B, C)))) == new


def test_pit_saves_its_membrane_but_not_its_scale() -> None:
    def f(params: Any, x: jax.Array) -> jax.Array:
        return pit_fire(x @ params["w"], params["a"], levels=4).sum()

    params = {"w": WEIGHTS["first"], "a": jnp.ones(H)}
    assert list_sizes(list_residuals(f, params, X)) == [4 * B * H]


def test_a_loop_saves_the_arrays_of_every_iteration() -> None:
    def f(w: jax.Array, x: jax.Array) -> jax.Array:
        def iterate(v: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jnp.sin(v * w), None

        return jax.lax.scan(iterate, x, length=6)[0].sum()

    # The input of an iteration, and the cosine.
    assert list_sizes(list_residuals(f, jnp.ones(()), X)) == [6 * 4 * B * C, 6 * 4 * B * C]


def test_a_rematerialized_layer_saves_only_its_output() -> None:
    f = partial(two_layers, layer=jax.checkpoint(sine))
    assert list_sizes(list_residuals(f, WEIGHTS, X)) == [4 * B * H]


def test_dropout_saves_one_byte_per_element_and_no_key() -> None:
    def f(w: jax.Array, x: jax.Array, key: jax.Array) -> jax.Array:
        layer = nn.Dropout(0.5, deterministic=False)
        return layer.apply({}, x @ w, rngs={"dropout": key}).sum()

    assert list_sizes(list_residuals(f, WEIGHTS["first"], X, jax.random.key(0))) == [B * H]
    assert bytes_of(jax.random.key(0)) == 0


class Net(nn.Module):
    """A network of a linear layer, a neuron, a norm and a linear layer."""

    neuron: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = self.neuron()(nn.Dense(H, use_bias=False, name="first")(x))
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dense(K, name="second")(x)


def measure_memory(model: nn.Module, shape: tuple[int, ...]) -> TrainingMemory:
    return training_memory(
        model,
        jax.ShapeDtypeStruct(shape, jnp.float32),
        jax.ShapeDtypeStruct(shape[:1], jnp.int32),
        loss=lambda logits, labels: (logits.sum(axis=(1, 2)) * labels).sum(),
        optimizer_init=optax.adam(0.1).init,
    )


def test_the_parts_of_a_small_network() -> None:
    steps = 2
    memory = measure_memory(Net(partial(PIT, levels=4)), (B, steps, C))
    parameters = C * H + steps * H + 2 * H + H * K + K  # Weights, a, norm, weights, bias.
    assert memory.parameters == memory.gradients == 4 * parameters
    assert memory.statistics == 4 * 2 * H
    assert memory.optimizer == 2 * 4 * parameters + 4  # Two moments and the count of steps.
    assert memory.batch == 4 * B * steps * C + 4 * B
    assert memory.total == sum(memory.parts.values())


def test_the_activations_of_a_small_network_by_layer() -> None:
    steps = 2
    memory = measure_memory(Net(partial(PIT, levels=4)), (B, steps, C))
    array, row = 4 * B * steps * H, 4 * H
    # The membranes, and `a` above its floor.
    assert memory.activations_of()["PIT_0"] == array + steps * row
    # The norm saves three arrays (centered, scaled and output) and some rows.
    assert memory.activations_of()["norm"] // array == 3
    assert memory.activations == sum(memory.activations_of().values())
    assert set(memory.activations_of(1)) == set(memory.activations_of())


def test_activations_grow_with_steps_and_images_but_not_with_levels() -> None:
    def count_large(levels: int, images: int, steps: int) -> int:
        memory = measure_memory(Net(partial(PIT, levels=levels)), (images, steps, C))
        return sum(
            array.bytes for array in memory.kept if images in array.shape and H in array.shape
        )

    one = count_large(1, 11, 1)
    assert count_large(4, 11, 1) == one
    assert count_large(4, 33, 1) == 3 * one
    assert count_large(4, 11, 3) == 3 * one


def test_remat_and_bfloat16_save_less() -> None:
    def activations(**fields: Any) -> int:
        model = models.create(
            "resnet8", num_classes=10, neuron=LIF, num_steps=4, stages=(1,), **fields
        )
        return measure_memory(model, (8, 8, 8, 1)).activations

    plain = activations()
    assert activations(remat="blocks") < activations(remat="convolutions") < plain
    # Norms and membranes stay float32.
    assert plain / 2 < activations(dtype=jnp.bfloat16) < plain


def test_layers_are_in_order_and_add_up_to_blocks() -> None:
    model = models.create("resnet8", num_classes=10, neuron=partial(PIT, levels=4))
    memory = measure_memory(model, (8, 8, 8, 1))
    blocks = list(memory.activations_of(1))
    # A norm saves its input, which the convolution before it has made.
    assert blocks[:4] == ["stem", "stage1_block1", "stage2_block1", "stage3_block1"]
    inside = [size for name, size in memory.activations_of().items() if name.startswith("stage1")]
    assert memory.activations_of(1)["stage1_block1"] == sum(inside)


def test_parts_are_drawn_with_measured_peaks() -> None:
    memory = measure_memory(Net(partial(PIT, levels=4)), (B, 2, C))
    steps = {"one": memory.parts, "other": memory.parts}
    drawn = plots.parts(steps, "A step", {"other": memory.total})
    drawn.canvas.draw()
    named = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert sorted(named) == sorted([*memory.parts, "measured peak"])
    plots.plot_by_layer(memory.activations_of(1), "A step").canvas.draw()


@pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)
def test_every_neuron_saves_more_with_more_steps(neuron: type) -> None:
    one, three = (measure_memory(Net(neuron), (B, steps, C)).activations for steps in (1, 3))
    assert 0 < one < three


def test_the_membranes_that_neuron_layers_read_equal_a_count_by_hand() -> None:
    steps = 2
    array, row = 4 * B * steps * H, 4 * H
    pit = measure_memory(Net(partial(PIT, levels=4)), (B, steps, C))
    # The membranes, and `a` above its floor.
    assert pit.neurons == {"PIT_0": array + steps * row}
    relu = measure_memory(Net(ReLU), (B, steps, C))
    # A byte per value: whether it was positive.
    assert relu.neurons == {"ReLU_0": array // 4}


def test_inputs_count_and_parameters_do_not() -> None:
    shape = (B, 2, C)
    memory = training_memory(
        Net(Doubled),
        jax.ShapeDtypeStruct(shape, jnp.float32),
        jax.ShapeDtypeStruct(shape[:1], jnp.int32),
        loss=lambda logits, labels: logits.sum(),
        optimizer_init=optax.sgd(0.1).init,
        neurons=(Doubled,),
    )
    # A product of the input and a parameter, whose gradients need one another.
    assert memory.neurons == {"Doubled_0": 4 * B * 2 * H}


class Doubled(nn.Module):
    """A neuron of a user, with its own gradient."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        @jax.custom_vjp
        def double(x: jax.Array, w: jax.Array) -> jax.Array:
            return w * x

        double.defvjp(
            lambda x, w: (w * x, (x, w)),
            lambda saved, g: (saved[1] * g, (saved[0] * g).sum((0, 1))),
        )
        return double(x, self.param("w", nn.initializers.ones, x.shape[-1:]))


@pytest.mark.parametrize("remat", ["none", "blocks"])
def test_all_neuron_layers_are_counted_in_order(remat: str) -> None:
    model = models.create("resnet8", num_classes=10, neuron=RealSpike, num_steps=2, remat=remat)
    layers = list(measure_memory(model, (8, 8, 8, 1)).neurons)
    # The neuron inside a RealSpike is a part of it.
    assert layers[:2] == ["stage1_block1/RealSpike_0", "stage1_block1/RealSpike_1"]
    assert layers[-1] == "RealSpike_0" and len(layers) == 7
