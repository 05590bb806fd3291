"""The training step and the evaluation: inputs, side effects, and losses that are not finite."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from pit_jax.neurons import PIT
from tests.helpers import collect_by_layer, jit_once
from tests.train.helpers import (
    get_bits,
    list_saved_steps,
    make_program_on,
    stop_after,
    take_devices,
)
from tests.train.tiny import EPOCHS, STEPS_PER_EPOCH, get_config
from train import data
from train.data.feeding.order import SequentialOrder, epoch_order
from train.errors import UserError
from train.loop import train
from train.program import build
from train.program.inputs import make_augment, make_normalize
from train.program.program import CompiledStep, Program
from train.program.pure import make_pure_program
from train.program.state import TrainState
from train.program.step import are_finite, average_spikes, is_correct, split_step_key

BATCH, TESTED = 8, 13


def make_config() -> ConfigDict:
    """Return a config with five steps per epoch whose test images fill one batch and a half."""
    config = get_config()
    config.batch_size = BATCH
    config.data.update(num_train=5 * BATCH, num_test=TESTED)
    return config


@pytest.fixture(scope="module")
def program() -> Program:
    return make_program_on(1, make_config())


@pytest.fixture(scope="module")
def step(program) -> CompiledStep:
    return program.compile_step()


@pytest.fixture(scope="module")
def order(program) -> jax.Array:
    return next(program.batches(0))


@pytest.fixture
def trained(program, step, order) -> TrainState:
    """Return the state after two training steps."""
    return step(step(program.first_state(), order)[0], order)[0]


def copy_variables(state: TrainState) -> dict:
    """Return copies of the variables: the next step takes the memory of the state."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return jax.tree.map(lambda x: jnp.asarray(np.array(x)), variables)


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def compute_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy of the mean over time for each sample."""
    return -log_softmax(logits.mean(axis=1))[np.arange(len(labels)), labels]


def test_evaluation_ignores_the_padding_of_the_last_batch(program, trained):
    config = make_config()
    dataset = data.load(**config.data)
    variables = copy_variables(trained)
    logits, probes = build.make_network(config, dataset).apply(
        variables, make_normalize(dataset)(dataset.test.images), mutable=["intermediates"]
    )
    logits, labels = np.asarray(logits, np.float64), dataset.test.labels
    each = compute_losses(logits, labels)
    got = program.evaluate(trained)
    assert got.accuracy == pytest.approx((logits.mean(axis=1).argmax(-1) == labels).mean())
    assert got.loss == pytest.approx(each.mean(), abs=1e-5)
    for name, rate in collect_by_layer(probes["intermediates"], "rate").items():
        assert got.rates[name] == pytest.approx(np.asarray(rate).mean(axis=0), abs=1e-5)
    # The integers of every neuron, summed over the steps: the mean over images and all neurons.
    counts = collect_by_layer(probes["intermediates"], "count").values()
    fired = [np.abs(np.asarray(count)).sum(axis=1).reshape(TESTED, -1) for count in counts]
    assert got.spikes == pytest.approx(np.concatenate(fired, axis=1).mean(), rel=1e-5)
    # With padding, the loss would differ.
    index = SequentialOrder(TESTED, BATCH).index
    assert index.size > TESTED and abs(each[index.ravel()].mean() - each.mean()) > 1e-3


def test_spikes_are_averaged_over_all_neurons():
    # One image, two steps: a layer of 6 neurons that fire 3 of 4, one of 2 that fires -1.
    counts = {"a": (np.full((1, 2, 2, 3), 3.0), 4), "b": (np.array([[[0, -1], [0, 0]]]), 1)}
    layers = {
        name: {
            "count": jnp.asarray(count),
            "levels": jnp.asarray(levels),
            "rate": jnp.abs(count).reshape(1, 2, -1).mean(axis=-1) / levels,
        }
        for name, (count, levels) in counts.items()
    }
    assert average_spikes(layers) == pytest.approx([(6 * 6 + 1) / 8])
    assert average_spikes({}) == 0


def test_every_test_image_has_weight_one_once_and_padding_zero():
    order = SequentialOrder(TESTED, BATCH)
    index, weight = order.index, order.weight
    assert index.shape == weight.shape == (2, BATCH)
    assert index[weight == 1].tolist() == list(range(TESTED))
    assert set(weight.ravel()) == {0, 1}


def test_evaluation_changes_nothing(program, trained):
    before = get_bits(trained)
    once, again = program.evaluate(trained), program.evaluate(trained)
    assert once == again
    assert get_bits(trained) == before


def test_a_step_from_the_same_state_gives_the_same_bits(program, step, order):
    once, again = (step(program.first_state(), order) for _ in range(2))
    assert get_bits(once) == get_bits(again)


def test_a_step_changes_every_parameter_and_counts_itself(program, step, order):
    first = program.first_state()
    before, key = get_bits(first.params), get_bits(first.key)
    after, _ = step(first, order)
    unchanged = {path for path, leaf in get_bits(after.params).items() if leaf == before[path]}
    # The norm after a convolution subtracts its bias, so only rounding errors change the bias.
    assert unchanged <= {f"['stage1_block1']['conv{number}']['bias']" for number in (1, 2)}
    assert after.step == 1 and get_bits(after.key) == key


def test_within_an_epoch_nothing_is_copied_to_the_device_or_back(program, step):
    state, batches = program.first_state(), program.batches(0)
    # The first step of an epoch places its order; the other steps need nothing from the host.
    state, _ = step(state, next(batches))
    with jax.transfer_guard("disallow_explicit"):
        for _ in range(program.steps_per_epoch - 1):
            state, _ = step(state, next(batches))
        with pytest.raises(Exception, match="host-to-device transfer"):
            jnp.asarray(np.ones(3)) + 1
    assert state.step == program.steps_per_epoch


def test_the_totals_are_the_sums_over_the_steps(program, step, order):
    state, seen = program.first_state(), []
    for _ in range(3):
        state, metrics = step(state, order)
        seen.append(jax.device_get(metrics))
    assert state.totals["seen"] == 3 * BATCH
    for total, metric in (("loss", "loss"), ("correct", "accuracy")):
        mean = state.totals[total] / state.totals["seen"]
        assert mean == pytest.approx(np.mean([each[metric] for each in seen]), rel=1e-5)


def test_rates_are_in_the_order_in_which_the_layers_run(program, trained):
    config = make_config()
    dataset = data.load(**config.data)
    ran: list[str] = []

    def note(call, args, kwargs, context):
        if isinstance(context.module, PIT) and context.method_name == "__call__":
            ran.append("/".join(context.module.path))
        return call(*args, **kwargs)

    images = make_normalize(dataset)(dataset.test.images[:1])
    with nn.intercept_methods(note):
        model = build.make_network(config, dataset)
        jax.eval_shape(model.init, jax.random.key(0), images)
    assert program.neuron_layers == ran
    assert ran != sorted(ran)  # The order of a dictionary that jit returns.
    assert set(program.evaluate(trained).rates) == set(ran)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_a_program_serves_other_seeds(program, seed):
    own = program.with_seed(seed)
    state = own.first_state()
    expected = jax.random.split(jax.random.key(seed))[1]
    assert get_bits(state.key) == get_bits(expected)
    order = epoch_order(seed, 1, 5 * BATCH, BATCH)
    assert np.array_equal(next(own.batches(5)).order, order)
    assert np.array_equal(own.samples(6), order[1])
    assert own.evaluate == program.evaluate


def test_scales_are_initialized_from_the_batch_of_the_first_step(x64):
    config = make_config()
    dataset = data.load(**config.data)
    program = make_program_on(1, config)
    state = program.first_state()
    start = copy_variables(state)
    augment_key, _ = split_step_key(jnp.copy(state.key), 0)
    model = build.make_network(config, dataset)

    def eq12(u: np.ndarray) -> np.ndarray:
        u = np.moveaxis(u, 1, 0).reshape(u.shape[1], -1, u.shape[-1])
        mean, sigma = u.mean(axis=1), u.std(axis=1)
        farthest = np.maximum(abs(mean - 3 * sigma), abs(mean + 3 * sigma))
        return farthest / np.sqrt(config.neuron.levels)

    mutable = ["batch_stats", "intermediates"]
    apply = jit_once(partial(model.apply, train=True, mutable=mutable))

    def seen(images: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return logits, and Eq. 12 of the membranes of every neuron layer, `[T, C]`."""
        logits, probes = apply(start, images)
        membranes = collect_by_layer(probes["intermediates"], "membrane")
        return np.asarray(logits), {name: eq12(np.asarray(u)) for name, u in membranes.items()}

    order = epoch_order(config.seed, 0, len(dataset.train.images), BATCH)
    first, second = (dataset.train.images[index] for index in order[:2])
    augment = jit_once(make_augment(config, dataset))
    logits, scales = seen(augment(augment_key, first))
    begun = collect_by_layer(start["params"], "a")
    assert scales.keys() == begun.keys() == set(program.neuron_layers)
    for name in scales:
        np.testing.assert_allclose(begun[name], scales[name], rtol=1e-9)

    labels = dataset.train.labels[order[0]]
    step = jit_once(make_pure_program(config, dataset).train)
    _, metrics = step(state, {"image": first, "label": labels})
    assert float(metrics["loss"]) == pytest.approx(compute_losses(logits, labels).mean(), abs=1e-9)

    # Neither another batch nor the same batch without augmentation results in these scales.
    for images in (augment(augment_key, second), make_normalize(dataset)(first)):
        other = seen(images)[1]
        assert all(abs(begun[name] - other[name]).max() > 1e-3 for name in begun)


def test_nothing_compiles_after_the_first_epoch(tmp_path, compiled):
    config = get_config()
    before_steps = []

    def never_stop() -> bool:
        before_steps.append(len(compiled))
        return False

    train(config, tmp_path, stop=never_stop, devices=take_devices(1))
    assert len(before_steps) == EPOCHS * STEPS_PER_EPOCH and before_steps[0] > 0
    assert before_steps[STEPS_PER_EPOCH] == before_steps[-1]


def test_every_epoch_and_seed_has_a_different_permutation():
    size, seeds, epochs = 21, (0, 1), (0, 1)
    orders = [epoch_order(s, e, size, BATCH) for s in seeds for e in epochs]
    for order in orders:
        assert order.shape == (2, BATCH) and len(set(order.ravel().tolist())) == 2 * BATCH
        assert order.min() >= 0 and order.max() < size
    assert len({order.tobytes() for order in orders}) == 4
    assert (epoch_order(1, 1, size, BATCH) == orders[3]).all()


@pytest.mark.parametrize("batch_size, repeats", [(6, 3), (8, 3), (4, 2), (2, 5)])
def test_the_copies_of_a_sample_are_in_one_batch_with_other_samples(batch_size, repeats):
    once = epoch_order(0, 0, 40, batch_size)
    order = epoch_order(0, 0, 40, batch_size, repeats)
    assert order.shape == once.shape
    labels, counts = np.unique(order, return_counts=True)
    assert set(labels) == set(once.ravel()[: -(-order.size // repeats)])
    assert sorted(counts)[1:] == [repeats] * (len(counts) - 1)
    if batch_size == 6:
        assert (order[:, :2] == order[:, 2:4]).all() and (order[:, :2] == order[:, 4:]).all()
    if repeats < batch_size:
        assert (order != np.roll(order, 1, axis=1)).mean() > 0.8


def test_the_predicted_class_has_the_largest_mean_over_time():
    logits = jnp.array([[[3.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.5, 0.0]]])
    assert is_correct(logits, jnp.array([0, 0])).tolist() == [1, 0]


def test_the_larger_of_two_mixed_labels_is_correct():
    logits = jnp.array([[[3.0, 0.0, 1.0]], [[0.0, 1.0, 0.5]]])
    shares = jnp.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0]])
    assert is_correct(logits, shares).tolist() == [1, 0]


def lose_weights(state):
    """Return `state` with weights that are not finite, on the same devices."""
    lost = state.replace(params=jax.tree.map(lambda x: x * np.nan, state.params))
    return jax.device_put(lost, state.step.sharding)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_any_value_that_is_not_finite_is_found(bad):
    tree = {"kernel": np.ones((3, 5), np.float32), "bias": np.ones(4, np.float32)}
    assert jax.jit(are_finite)(tree)
    for name, index in (("kernel", (1, 2)), ("bias", 3)):
        changed = {**tree, name: tree[name].copy()}
        changed[name][index] = bad
        assert not jax.jit(are_finite)(changed)
    # Infinities of both signs do not cancel.
    assert not jax.jit(are_finite)({"bias": np.float32([bad, 1, -bad])})


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_finite_values_whose_sum_overflows_are_finite(dtype):
    largest = jnp.full(1000, jnp.finfo(dtype).max, dtype)
    assert jax.jit(are_finite)([largest, -largest])
    assert not jax.jit(are_finite)([largest, jnp.array(jnp.inf, dtype)])


def test_a_start_from_weights_that_are_not_finite_is_refused(tmp_path):
    program = make_program_on(1, get_config())
    lost = lose_weights(program.first_state())
    program = program._replace(first_state=lambda: lost)
    with pytest.raises(UserError, match="Training started from weights that are not finite"):
        train(get_config(), tmp_path, stop=stop_after(1), program=program)
    assert list_saved_steps(tmp_path) == [] and not (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / "summary.json").exists()


@pytest.mark.parametrize("steps", [1, 2])
def test_a_stop_does_not_save_weights_that_are_not_finite(tmp_path, steps):
    program = make_program_on(1, get_config())
    step = program.compile_step()

    def step_and_lose(state, batch):
        state, metrics = step(state, batch)
        return lose_weights(state), metrics

    program = program._replace(compile_step=lambda: step_and_lose)
    with pytest.raises(UserError, match="not finite"):
        train(get_config(), tmp_path, stop=stop_after(steps), program=program)
    assert list_saved_steps(tmp_path) == []


def test_a_run_makes_no_implicit_transfers(tmp_path, monkeypatch):
    guarded, kind = [], type(jnp.zeros(()))

    def refuse(array: jax.Array) -> None:
        raise AssertionError("an implicit transfer to the host")

    def never_stop() -> bool:
        """Forbid implicit transfers from the second step on; the first one compiles and places."""
        guarded.append(jax.config.jax_transfer_guard)
        if len(guarded) == 2:
            jax.config.update("jax_transfer_guard", "disallow")
            # On CPUs, whose memory is the host's, the guard allows these.
            for name in ("__int__", "__float__", "__bool__", "__index__"):
                monkeypatch.setattr(kind, name, refuse)
        return False

    config = get_config()
    config.log_every = 1
    config.checkpoints.every_steps = 2
    try:
        train(config, tmp_path, stop=never_stop, devices=take_devices(1))
    finally:
        jax.config.update("jax_transfer_guard", guarded[0])
    assert guarded[2:] == ["disallow"] * (EPOCHS * STEPS_PER_EPOCH - 2)
    assert len(guarded) > 4
